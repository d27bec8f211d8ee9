import json
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockercni.cni import versions
from dockercni.cni.errors import CNIError, ResultError
from dockercni.cni.result import DNS, Interface, IPConfig, Result, Route, convert, parse

OLD = ["0.1.0", "0.2.0"]
MIDDLE = ["0.3.0", "0.3.1", "0.4.0"]
NEW = ["1.0.0", "1.1.0"]

SINGLE_FAMILY = {
    "cniVersion": "0.2.0",
    "ip4": {"ip": "10.1.2.3/24", "gateway": "10.1.2.1", "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.2.1"}]},
    "ip6": {"ip": "fd00::3/64", "routes": [{"dst": "::/0"}]},
    "dns": {"nameservers": ["10.1.2.1"], "domain": "example", "search": ["a"], "options": ["b"]},
}
WITH_VERSION = {
    "cniVersion": "0.4.0",
    "interfaces": [
        {"name": "br0", "mac": "02:00:00:00:00:01"},
        {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/x"},
    ],
    "ips": [
        {"version": "4", "interface": 0, "address": "10.1.2.3/24", "gateway": "10.1.2.1"},
        {"version": "6", "address": "fd00::3/64"},
    ],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.2.1"}, {"dst": "::/0"}],
    "dns": {},
}
CURRENT = {
    "cniVersion": "1.1.0",
    "dns": {"domain": "d", "nameservers": ["10.1.2.1"], "options": ["o"], "search": ["s"]},
    "interfaces": [
        {
            "mac": "02:00:00:00:00:02",
            "mtu": 1500,
            "name": "eth0",
            "pciID": "0000:00",
            "sandbox": "/run/netns/x",
            "socketPath": "/s",
        }
    ],
    "ips": [{"address": "10.1.2.3/24", "gateway": "10.1.2.1", "interface": 0}, {"address": "fd00::3/64"}],
    "routes": [
        {"advmss": 1, "dst": "0.0.0.0/0", "gw": "10.1.2.1", "mtu": 2, "priority": 3, "scope": 0, "table": 0},
    ],
}


def loaded(value: Any, inherit: str = "1.0.0") -> Result:
    return parse(json.dumps(value).encode(), inherit)


@pytest.mark.parametrize("printed", [SINGLE_FAMILY, WITH_VERSION, CURRENT], ids=["0.2.0", "0.4.0", "1.1.0"])
def test_each_shape_is_written_as_it_was_read(printed: dict[str, Any]) -> None:
    """A result of each shape is written with the same keys in the same order, as libcni prints them."""
    result = loaded(printed)
    assert json.dumps(result.to_dict()) == json.dumps(printed)
    assert result.raw == printed


def test_a_result_is_read_into_addresses() -> None:
    """Addresses, gateways, routes and interfaces become typed values; interface 0 and table 0 are not nothing."""
    result = loaded(CURRENT)
    assert result == Result(
        "1.1.0",
        (Interface("eth0", "02:00:00:00:00:02", 1500, "/run/netns/x", "/s", "0000:00"),),
        (
            IPConfig(ip_interface("10.1.2.3/24"), ip_address("10.1.2.1"), 0),
            IPConfig(ip_interface("fd00::3/64")),
        ),
        (Route(ip_network("0.0.0.0/0"), ip_address("10.1.2.1"), 2, 1, 3, 0, 0),),
        DNS(("10.1.2.1",), "d", ("s",), ("o",)),
    )


@pytest.mark.parametrize(
    ("version", "written"),
    [
        ("0.1.0", '{"cniVersion": "0.1.0", "dns": {}}'),
        ("0.4.0", '{"cniVersion": "0.4.0", "dns": {}}'),
        ("1.0.0", '{"cniVersion": "1.0.0"}'),
    ],
)
def test_an_empty_dns_is_written_before_1_0_0_only(version: str, written: str) -> None:
    """What is empty is left out, but for `dns` in the old shapes."""
    assert json.dumps(Result(version).to_dict()) == written


@pytest.mark.parametrize(
    "printed", [b"{}", b"null", b'{"cniVersion": null}', b'{"cniVersion": ""}', b'{"CNIVersion": ""}']
)
def test_a_result_without_version_inherits_one(printed: bytes) -> None:
    """No cniVersion, an empty one, null, or nothing but null as output mean the configuration's version."""
    result = parse(printed, "0.4.0")
    assert result.cni_version == "0.4.0"
    assert result.raw == {"cniVersion": "0.4.0"}


def test_a_result_is_read_by_its_own_version() -> None:
    """A result's own version decides, not the configuration's, and it is not converted."""
    result = loaded(SINGLE_FAMILY, "1.0.0")
    assert result.cni_version == "0.2.0"
    assert [str(ip.address) for ip in result.ips] == ["10.1.2.3/24", "fd00::3/64"]


def test_unknown_keys_are_handed_on() -> None:
    """`raw` is what the plugin printed, also what we do not understand."""
    printed = {"cniVersion": "1.0.0", "vendor": {"x": 2**60}, "ips": [{"address": "10.0.0.1/8", "y": 1}]}
    assert loaded(printed).raw == printed


def test_keys_match_in_any_case() -> None:
    """As in Go, `IPs` and `Address` are ips and address."""
    result = loaded({"IPs": [{"Address": "10.0.0.1/8", "GateWay": "10.0.0.2"}]})
    assert [(str(ip.address), str(ip.gateway)) for ip in result.ips] == [("10.0.0.1/8", "10.0.0.2")]


def test_old_shapes_do_not_know_new_keys() -> None:
    """Interface keys of 1.1.0 in an older result are neither read nor checked."""
    result = loaded({"cniVersion": "0.4.0", "interfaces": [{"name": "a", "mtu": "x", "pciID": 1}]})
    assert result.interfaces == (Interface("a"),)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("::ffff:10.0.0.1/120", "10.0.0.1/24"),
        ("10.0.0.1/0", "10.0.0.1/0"),
        ("FD00:0::1/64", "fd00::1/64"),
        ("fd00::1/128", "fd00::1/128"),
    ],
)
def test_addresses_are_read_as_go_reads_them(text: str, address: str) -> None:
    """IPv4 within IPv6 is IPv4, and host bits are kept."""
    result = loaded({"ips": [{"address": text, "gateway": "::ffff:10.0.0.2"}]})
    assert [(str(ip.address), str(ip.gateway)) for ip in result.ips] == [(address, "10.0.0.2")]


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        ([], "must be an object, not []"),
        ({"cniVersion": 1}, "cniVersion: must be a string, not 1"),
        ({"cniVersion": "9.9.9"}, 'cniVersion: "9.9.9" is not a version'),
        ({"ips": {}}, "ips: must be an array, not {}"),
        ({"ips": [None]}, "ips[0]: must be an object, not null"),
        ({"ips": [{}]}, "ips[0].address: missing"),
        ({"ips": [{"address": "10.0.0.1"}]}, 'ips[0].address: "10.0.0.1" is not an address with'),
        ({"ips": [{"address": "10.0.0.1/33"}]}, "ips[0].address: "),
        ({"ips": [{"address": "10.0.0.1/255.0.0.0"}]}, "ips[0].address: "),
        ({"ips": [{"address": "fe80::1%eth0/64"}]}, "ips[0].address: "),
        ({"ips": [{"address": "::ffff:10.0.0.1/64"}]}, "ips[0].address: "),
        ({"ips": [{"address": "10.0.0.1/8", "gateway": "x"}]}, 'ips[0].gateway: "x" is not an address'),
        ({"ips": [{"address": "10.0.0.1/8", "gateway": "fe80::1%eth0"}]}, "ips[0].gateway: "),
        ({"ips": [{"address": "10.0.0.1/8", "interface": "0"}]}, 'ips[0].interface: must be a 64-bit integer, not "0"'),
        ({"ips": [{"address": "10.0.0.1/8", "interface": True}]}, "ips[0].interface: "),
        ({"ips": [{"address": "10.0.0.1/8", "interface": 0.0}]}, "ips[0].interface: "),
        ({"ips": [{"address": "10.0.0.1/8", "version": 4}]}, "ips[0].version: must be a string, not 4"),
        ({"interfaces": [{"name": 1}]}, "interfaces[0].name: must be a string"),
        ({"interfaces": [{"name": "a", "mtu": "1"}]}, "interfaces[0].mtu: "),
        ({"routes": [{"gw": "10.0.0.1"}]}, "routes[0].dst: missing"),
        ({"routes": [{"dst": "0.0.0.0/0", "table": "x"}]}, "routes[0].table: "),
        ({"dns": []}, "dns: must be an object, not []"),
        ({"dns": {"nameservers": [1]}}, "dns.nameservers[0]: must be a string, not 1"),
        ({"cniVersion": "0.2.0", "ip4": {"gateway": "10.0.0.1"}}, "ip4.ip: missing"),
        ({"cniVersion": "0.2.0", "ip6": {"ip": "fd00::1/64", "routes": [{"dst": 1}]}}, "ip6.routes[0].dst: must be"),
    ],
)
def test_wrong_values_are_named_by_their_key(printed: Any, message: str) -> None:
    """A result with a wrong value is a ResultError that begins with the path of the key."""
    with pytest.raises(ResultError) as error:
        loaded(printed)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("printed", [b"", b'{"ips": [', b"Usage: bridge", b'{"a": NaN}', b"\xff", b"[" * 9999])
def test_what_is_not_json_is_no_result(printed: bytes) -> None:
    """Half a JSON, none, and other output are ResultErrors of code 6."""
    with pytest.raises(ResultError) as error:
        parse(printed, "1.0.0")
    assert error.value.code == 6


def test_an_attachment_has_the_addresses_of_its_interface() -> None:
    """addresses_of() takes the container's interface of that name, and addresses that name no interface."""
    result = Result(
        "1.0.0",
        (Interface("eth0"), Interface("eth0", sandbox="/x"), Interface("eth1", sandbox="/x")),
        (
            *(IPConfig(ip_interface(f"10.0.0.{n}/8"), interface=n) for n in range(4)),
            IPConfig(ip_interface("fd00::1/64")),
            IPConfig(ip_interface("10.9.9.9/8"), interface=-1),
        ),
    )
    assert [str(address) for address in result.addresses_of("eth0")] == ["10.0.0.1/8", "fd00::1/64"]


# --- conversion ---


@pytest.mark.parametrize("source", [SINGLE_FAMILY, WITH_VERSION, CURRENT], ids=["0.2.0", "0.4.0", "1.1.0"])
@pytest.mark.parametrize("version", versions.KNOWN)
def test_every_version_converts_to_every_other(source: dict[str, Any], version: str) -> None:
    """The converted result has the version asked for, and says the same when it is read again."""
    converted = convert(loaded(source), version)
    assert converted.cni_version == version
    assert parse(converted.raw, "") == converted
    assert converted.to_dict() == converted.raw


def test_the_empty_version_is_the_oldest() -> None:
    """A configuration without cniVersion gets 0.1.0."""
    assert convert(loaded(SINGLE_FAMILY), "").cni_version == "0.1.0"


def test_an_old_result_becomes_lists() -> None:
    """ip4 comes before ip6, routes are joined in that order, and there are no interfaces."""
    assert convert(loaded(SINGLE_FAMILY), "0.3.1").raw == {
        "cniVersion": "0.3.1",
        "ips": [
            {"version": "4", "address": "10.1.2.3/24", "gateway": "10.1.2.1"},
            {"version": "6", "address": "fd00::3/64"},
        ],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.2.1"}, {"dst": "::/0"}],
        "dns": SINGLE_FAMILY["dns"],
    }


@pytest.mark.parametrize("source", MIDDLE + NEW)
@pytest.mark.parametrize("version", OLD)
def test_an_old_version_keeps_one_address_of_a_family(source: str, version: str) -> None:
    """To 0.2.0 go the first address of each family, and destination and gateway of that family's routes."""
    ips = ["fd00::1/64", "10.0.0.1/8", "10.0.0.2/8", "fd00::2/64"]
    result = Result(
        source,
        (Interface("eth0", sandbox="/x"),),
        tuple(IPConfig(ip_interface(ip), interface=0) for ip in ips),
        (Route(ip_network("::/0"), priority=3), Route(ip_network("0.0.0.0/0"), ip_address("10.0.0.9"), mtu=1)),
    )
    assert convert(result, version).raw == {
        "cniVersion": version,
        "ip4": {"ip": "10.0.0.1/8", "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.9"}]},
        "ip6": {"ip": "fd00::1/64", "routes": [{"dst": "::/0"}]},
        "dns": {},
    }


def test_routes_without_an_address_of_their_family_are_dropped() -> None:
    """To 0.2.0, an IPv6 route goes nowhere if there is no IPv6 address."""
    result = Result("1.0.0", ips=(IPConfig(ip_interface("10.0.0.1/8")),), routes=(Route(ip_network("::/0")),))
    converted = convert(result, "0.2.0")
    assert converted.routes == ()
    assert converted.raw == {"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.1/8"}, "dns": {}}


@pytest.mark.parametrize("source", MIDDLE + NEW)
def test_no_address_cannot_be_said_in_an_old_version(source: str) -> None:
    """A result without addresses has no form in 0.1.0 and 0.2.0; between those two it passes."""
    for version in OLD:
        with pytest.raises(ResultError, match=r"^cannot convert: no valid IP addresses$"):
            convert(Result(source), version)
    assert convert(Result("0.2.0"), "0.1.0").raw == {"cniVersion": "0.1.0", "dns": {}}


@pytest.mark.parametrize("source", NEW)
@pytest.mark.parametrize("version", MIDDLE)
def test_interfaces_lose_what_is_new(source: str, version: str) -> None:
    """Below 1.0.0 interfaces have no mtu, socketPath and pciID, addresses get a version, routes stay whole."""
    converted = convert(loaded(CURRENT | {"cniVersion": source}), version)
    assert converted.interfaces == (Interface("eth0", mac="02:00:00:00:00:02", sandbox="/run/netns/x"),)
    assert [ip["version"] for ip in converted.raw["ips"]] == ["4", "6"]
    assert converted.raw["ips"][0]["interface"] == 0
    assert converted.raw["routes"] == CURRENT["routes"]


@pytest.mark.parametrize(("source", "version"), [("1.1.0", "1.0.0"), ("0.4.0", "0.3.0"), ("0.2.0", "0.1.0")])
def test_within_a_shape_only_the_version_changes(source: str, version: str) -> None:
    """Between versions of one shape everything stays, unknown keys and new ones included."""
    printed = {"cniVersion": source, "vendor": 1, "interfaces": [{"name": "a", "mtu": 1}]}
    result = loaded(printed)
    assert convert(result, version) == replace(result, cni_version=version)
    assert convert(result, version).raw == printed | {"cniVersion": version}


@pytest.mark.parametrize("version", ["0.5.0", "2.0.0", "x", "1.0"])
def test_unknown_versions_cannot_be_converted_to(version: str) -> None:
    """There is no way into a version that we do not know."""
    with pytest.raises(ResultError, match="cannot convert"):
        convert(Result("1.0.0"), version)


# --- properties ---

ADDRESSES = st.ip_addresses().filter(lambda address: address.version == 4 or address.ipv4_mapped is None)
INTERFACES = st.builds(Interface, name=st.text(max_size=5), mac=st.text(max_size=3), sandbox=st.text(max_size=3))


@st.composite
def ip_configs(draw: st.DrawFn) -> IPConfig:
    address = draw(ADDRESSES)
    prefix = draw(st.integers(0, address.max_prefixlen))
    index = draw(st.none() | st.integers(0, 3))
    return IPConfig(ip_interface((address, prefix)), draw(st.none() | ADDRESSES), index)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    address = draw(ADDRESSES)
    network = ip_network((address, draw(st.integers(0, address.max_prefixlen))), strict=False)
    number, small = st.none() | st.integers(0, 300), st.integers(0, 300)
    return Route(network, draw(st.none() | ADDRESSES), *(draw(part) for part in (small, small, small, number, number)))


RESULTS = st.builds(
    Result,
    cni_version=st.sampled_from(MIDDLE + NEW),
    interfaces=st.lists(INTERFACES, max_size=3).map(tuple),
    ips=st.lists(ip_configs(), max_size=4).map(tuple),
    routes=st.lists(routes(), max_size=3).map(tuple),
    dns=st.builds(DNS, domain=st.text(max_size=3), search=st.lists(st.text(max_size=3), max_size=2).map(tuple)),
)


@given(result=RESULTS, version=st.sampled_from(MIDDLE + NEW))
def test_there_and_back_keeps_what_both_versions_can_say(result: Result, version: str) -> None:
    """From 0.3.0 on, nothing but the interface keys of 1.1.0 gets lost on the way to another version and back."""
    assert convert(convert(result, version), result.cni_version) == result


@given(result=RESULTS, version=st.sampled_from(OLD))
def test_through_an_old_version_one_address_of_a_family_is_kept(result: Result, version: str) -> None:
    """By way of 0.2.0, the first address of each family comes back with its gateway."""
    if result.ips:
        back = convert(convert(result, version), result.cni_version)
        for family in (4, 6):
            kept = [(ip.address, ip.gateway) for ip in back.ips if ip.address.version == family]
            had = [(ip.address, ip.gateway) for ip in result.ips if ip.address.version == family]
            assert kept == had[:1]


@given(result=RESULTS)
def test_what_is_written_reads_the_same(result: Result) -> None:
    """A result that was written is read back equal."""
    assert parse(json.dumps(result.to_dict()).encode(), "") == result


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("10.0.0.1/8"),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)
ENTRY = st.dictionaries(
    st.sampled_from(["name", "address", "gateway", "interface", "version", "dst", "ip", "routes", "mtu", "table"]),
    JSON,
    max_size=4,
)
LIKELY = st.fixed_dictionaries(
    {},
    optional={
        "cniVersion": st.sampled_from(versions.KNOWN) | JSON,
        "interfaces": st.lists(ENTRY, max_size=2) | JSON,
        "ips": st.lists(ENTRY, max_size=2) | JSON,
        "routes": st.lists(ENTRY, max_size=2) | JSON,
        "ip4": ENTRY | JSON,
        "dns": ENTRY | JSON,
    },
)


@given(
    data=st.binary(max_size=60) | (JSON | LIKELY).map(json.dumps).map(str.encode),
    version=st.sampled_from(versions.KNOWN),
)
def test_whatever_a_plugin_prints_there_is_a_result_or_an_error(data: bytes, version: str) -> None:
    """Any output is a Result that can be written and converted, or a CNIError of one printable line; nothing else."""
    try:
        result = parse(data, version)
        convert(result, "1.0.0").to_dict()
        convert(result, "0.2.0").to_dict()
    except CNIError as error:
        said = str(error)
    else:
        said = ""
    assert said == "" or said.isprintable()
