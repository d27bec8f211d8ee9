"""host-local against the reference executable: results, errors, and the lease directory byte for byte."""

from __future__ import annotations

from typing import Any

import pytest

from tests.differential.twin import Twin

V4: dict[str, Any] = {"subnet": "10.1.0.0/24"}
V6: dict[str, Any] = {"subnet": "fd00:1::/64"}
SMALL = {"subnet": "10.1.0.0/29", "rangeStart": "10.1.0.2", "rangeEnd": "10.1.0.4"}
DIRECTORY = "/var/lib/cni/networks/net"


def conf(version: str = "1.0.0", top: dict[str, Any] | None = None, **ipam: Any) -> dict[str, Any]:
    """A configuration whose main plugin is host-local itself, as the plugin sees it when delegated to."""
    own = {"type": "host-local", **ipam}
    return {"cniVersion": version, "name": "net", "type": "host-local", "ipam": own, **(top or {})}


@pytest.mark.parametrize("version", ["", "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"])
def test_versions(version: str) -> None:
    """One address, two families, two of one family, routes and DNS, in every version of the specification."""
    with Twin(*(["empty-dns"] if version == "1.0.0" else []), "lease-mode") as twin:
        twin.container()
        resolv_conf = "; a\n# b\nnameserver 10.1.0.9\nnameserver ::1\nsearch a b\n options c\ndomain d\nx\n"
        twin.write("/run/resolv.conf", resolv_conf)
        twin.step("ADD", conf(version, **V4, routes=[{"dst": "0.0.0.0/0"}, {"dst": "::/0", "gw": "fd00::1"}]))
        twin.step("ADD", conf(version, ranges=[[V4], [V6]], resolvConf="/run/resolv.conf"), ifname="eth1")
        twin.step("CHECK", conf(version, **V4), ifname="eth1")
        twin.step("ADD", conf(version, ranges=[[V4], [{"subnet": "10.2.0.0/24"}]]), container="c2", netns="c1")
        twin.step("DEL", conf(version, ranges=[[V4], [{"subnet": "10.2.0.0/24"}]]), container="c2", netns="c1")
        twin.compare_leases()
        twin.step("DEL", conf(version, **V4))
        twin.compare_leases()


GOOD: dict[str, dict[str, Any]] = {
    "single": V4,
    "gateway-inside": {**V4, "gateway": "10.1.0.3"},
    "gateway-elsewhere": {**V4, "gateway": "192.168.0.1"},
    "gateway-last": {**SMALL, "gateway": "10.1.0.4"},
    "start-is-network": {"subnet": "10.1.0.0/29", "rangeStart": "10.1.0.0"},
    "end-is-broadcast": {"subnet": "10.1.0.0/29", "rangeStart": "10.1.0.6", "rangeEnd": "10.1.0.7"},
    "smallest": {"subnet": "10.1.0.0/30"},
    "smallest-v6": {"subnet": "fd00::/126"},
    "v6-to-the-end": {"subnet": "fd00::/126", "rangeStart": "fd00::3"},
    "two-ranges": {"ranges": [[SMALL, {"subnet": "10.2.0.0/30"}]]},
    "two-ranges-with-gateway": {"ranges": [[{**SMALL, "gateway": "10.1.0.3"}, {"subnet": "10.2.0.0/30"}]]},
    "two-sets": {"ranges": [[V4], [V6]]},
    "single-and-ranges": {**V4, "ranges": [[V6]]},
    "mapped": {"subnet": "10.1.0.0/29", "rangeStart": "::ffff:10.1.0.4"},
    "case": {"SUBNET": "10.1.0.0/24", "RangeStart": "10.1.0.7"},
    "nulls": {"subnet": "10.1.0.0/24", "rangeStart": None, "ranges": None, "routes": None, "dataDir": None},
    "only-start": {"rangeStart": "10.1.0.2", "ranges": [[V4]]},
}


@pytest.mark.parametrize("case", GOOD)
def test_ranges(case: str) -> None:
    """Addresses come in the executable's order, across the end of each range, until none is left."""
    with Twin() as twin:
        twin.container()
        for number in range(7):
            twin.step("ADD", conf(**GOOD[case]), ifname=f"eth{number}")
        twin.compare_leases()
        twin.step("DEL", conf(**GOOD[case]), ifname="eth1")
        twin.step("DEL", conf(**GOOD[case]), ifname="eth3")
        for number in (7, 8):
            twin.step("ADD", conf(**GOOD[case]), ifname=f"eth{number}")
        twin.compare_leases()


BAD: dict[str, dict[str, Any]] = {
    "none": {},
    "too-small": {"subnet": "10.1.0.0/31"},
    "too-small-v6": {"subnet": "fd00::/127"},
    "host-bits": {"subnet": "10.1.0.5/24"},
    "host-bits-v6": {"subnet": "fd00::5/64"},
    "mapped-subnet": {"subnet": "::ffff:10.1.0.0/120"},
    "start-outside": {**V4, "rangeStart": "10.2.0.1"},
    "start-of-other-family": {**V4, "rangeStart": "fd00::1"},
    "end-outside": {**V4, "rangeEnd": "10.2.0.1"},
    "end-of-other-family": {**V4, "rangeEnd": "fd00::1"},
    "end-before-start": {**V4, "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.8"},
    "empty-set": {"ranges": [[]]},
    "no-subnet": {"ranges": [[{"rangeStart": "10.1.0.1"}]]},
    "mixed": {"ranges": [[V4, V6]]},
    "overlap-inside": {"ranges": [[V4, {"subnet": "10.1.0.0/25"}]]},
    "overlap-between": {"ranges": [[V6], [V4], [{"subnet": "10.1.0.0/25"}]]},
    "overlap-with-single": {**V4, "ranges": [[V4]]},
    "second-set-bad": {"ranges": [[V4], [{"subnet": "10.2.0.0/32"}]]},
}


@pytest.mark.parametrize("case", BAD)
def test_bad_ranges(case: str) -> None:
    """A bad configuration is refused by every verb, with the executable's code and words, and leaves nothing."""
    with Twin() as twin:
        twin.container()
        for verb in ("ADD", "CHECK", "DEL"):
            twin.step(verb, conf(**BAD[case]))
        twin.compare_leases()


WRONG_TYPES: dict[str, dict[str, Any]] = {
    "number": {"subnet": 10},
    "no-address": {"subnet": "nonsense"},
    "no-gateway": {**V4, "gateway": "nonsense"},
    "zone": {**V6, "gateway": "fe80::1%eth0"},
    "object": {"ranges": {}},
    "inner-object": {"ranges": [{}]},
    "route": {**V4, "routes": [{"dst": "10.0.0.0"}]},
}


@pytest.mark.parametrize("case", WRONG_TYPES)
def test_wrong_types(case: str) -> None:
    """Values of the wrong type are refused; our code is that for a bad configuration, our words name the key."""
    with Twin("wrong-type") as twin:
        twin.container()
        twin.step("ADD", conf(**WRONG_TYPES[case]))
        twin.compare_leases()


def test_no_ipam() -> None:
    """Without ipam nothing can be done."""
    with Twin() as twin:
        twin.container()
        twin.step("ADD", {"cniVersion": "1.0.0", "name": "net", "type": "host-local"})
        twin.step("DEL", {"cniVersion": "1.0.0", "name": "net", "type": "host-local", "ipam": None})


NO_RANGES = {"ipam": {"type": "host-local"}}
REQUESTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "argument": ({"args": "IP=10.1.0.77"}, {}),
    "argument-prefix": ({"args": "IP=10.1.0.77/8"}, {}),
    "argument-empty": ({"args": "IP="}, {}),
    "argument-mapped": ({"args": "IP=::ffff:10.1.0.77"}, {}),
    "argument-unknown": ({"args": "IP=10.1.0.77;K8S_POD=x"}, {}),
    "argument-unknown-ignored": ({"args": "K8S_POD=x;IP=10.1.0.77;IgnoreUnknown=true"}, {}),
    "argument-case": ({"args": "ip=10.1.0.77"}, {}),
    "argument-nonsense": ({"args": "IP=nonsense"}, {}),
    "argument-bad-cidr": ({"args": "IP=10.1.0.7/99"}, {}),
    "argument-no-pair": ({"args": "IP"}, {}),
    "argument-two-equals": ({"args": "IP=1=2"}, {}),
    "argument-last-semicolon": ({"args": "IP=10.1.0.77;"}, {}),
    "args": ({}, {"args": {"cni": {"ips": ["10.1.0.78"]}}}),
    "args-prefix": ({}, {"args": {"cni": {"ips": ["10.1.0.78/16"]}}}),
    "runtime": ({}, {"runtimeConfig": {"ips": ["10.1.0.79/24"]}}),
    "same-twice": ({"args": "IP=10.1.0.79"}, {"runtimeConfig": {"ips": ["10.1.0.79/24"]}}),
    "both-families": ({}, {"runtimeConfig": {"ips": ["fd00:1::77/64", "10.1.0.79"]}}),
    "outside": ({"args": "IP=10.9.0.1"}, {}),
    "gateway": ({"args": "IP=10.1.0.1"}, {}),
    "network-address": ({"args": "IP=10.1.0.0"}, {}),
    "broadcast": ({"args": "IP=10.1.0.255"}, {}),
    "last": ({"args": "IP=10.1.0.254"}, {}),
    "empty-list": ({}, {"runtimeConfig": {"ips": []}, "args": {"cni": {"ips": None}}}),
    "ranges": ({}, {"runtimeConfig": {"ipRanges": [[{"subnet": "10.7.0.0/24"}]]}}),
    "ranges-and-ip": ({}, {"runtimeConfig": {"ipRanges": [[{"subnet": "10.7.0.0/24"}]], "ips": ["10.7.0.9"]}}),
    "ranges-and-bounds": ({}, {"runtimeConfig": {"ipRanges": [[{**SMALL, "gateway": "10.1.0.3"}]]}, **NO_RANGES}),
    "ranges-and-end": ({}, {"runtimeConfig": {"ipRanges": [[{**SMALL, "rangeEnd": "10.1.0.2"}]]}, **NO_RANGES}),
    "ranges-overlap": ({}, {"runtimeConfig": {"ipRanges": [[V4]]}}),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_requests(case: str) -> None:
    """Addresses and ranges that somebody asks for, by every way; a second container asks for the same."""
    arguments, top = REQUESTS[case]
    with Twin() as twin:
        twin.container()
        given = conf(top=top, ranges=[[V4], [V6]])
        twin.step("ADD", given, **arguments)
        twin.step("ADD", given, container="c2", netns="c1", **arguments)
        twin.step("ADD", conf(ranges=[[V4], [V6]]), container="c3", netns="c1")
        twin.compare_leases()


def test_leftover_requests() -> None:
    """More addresses of a set than it gives: nothing is given, and what was reserved is given back."""
    with Twin(possible=("leftover-order",)) as twin:
        twin.container()
        given = conf(top={"runtimeConfig": {"ips": ["10.1.0.7", "10.1.0.8"]}}, ranges=[[V4], [V6]])
        twin.step("ADD", given)
        twin.step("ADD", conf(top={"runtimeConfig": {"ips": ["10.3.0.7"]}}, ranges=[[V4], [V6]]), ifname="eth1")


def test_duplicates() -> None:
    """A second ADD of one attachment is refused, also one that names an address: there the executable gives another."""
    with Twin("request-duplicate") as twin:
        twin.container()
        twin.step("ADD", conf(**V4))
        twin.step("ADD", conf(**V4))
        twin.step("ADD", conf(**V4), ifname="eth1")
        twin.step("ADD", conf(subnet="10.2.0.0/24"))
        twin.step("ADD", conf(**V4), args="IP=10.1.0.99")


def test_failed_add_keeps_what_it_did_not_take() -> None:
    """An ADD that fails in its second set leaves the attachment's older lease alone; the executable takes it."""
    with Twin("rollback") as twin:
        twin.container()
        twin.step("ADD", conf(**V6))
        twin.step("ADD", conf(ranges=[[V4], [V6]]))
        twin.compare_leases()


OLD = "10.1.0.9"
FILES = {
    "old-format": {OLD: "c1"},
    "old-format-and-new": {OLD: "c1", "10.1.0.10": "c1\r\neth0"},
    "white-space": {OLD: " \nc1\r\neth0 \n"},
    "other-interface": {OLD: "c1\r\neth1"},
    "other-container": {OLD: "c11\r\neth0"},
    "empty": {OLD: ""},
    "no-address": {"notes.txt": "c1\r\neth0"},
    "line-feed-only": {OLD: "c1\neth0"},
    "last-outside": {"last_reserved_ip.0": "10.9.0.5"},
    "last-line-feed": {"last_reserved_ip.0": "10.1.0.5\n"},
    "last-nonsense": {"last_reserved_ip.0": "nonsense"},
    "last-is-end": {"last_reserved_ip.0": "10.1.0.254"},
    "last-is-before-gateway": {"last_reserved_ip.0": "10.1.0.0"},
}


@pytest.mark.parametrize("case", FILES)
def test_foreign_files(case: str) -> None:
    """What stands in the store, by whomever, is understood by both in the same way."""
    with Twin() as twin:
        twin.container()
        for name, text in FILES[case].items():
            twin.write(f"{DIRECTORY}/{name}", text)
        twin.step("CHECK", conf(**V4))
        twin.step("ADD", conf(**V4))
        twin.step("DEL", conf(**V4))
        twin.compare_leases()
        twin.step("DEL", conf(**V4))
        twin.compare_leases()
        twin.step("ADD", conf(**V4), container="c2", netns="c1")
        twin.compare_leases()


def test_data_directory() -> None:
    """dataDir is made with its parents."""
    with Twin() as twin:
        twin.container()
        twin.step("ADD", conf(**V4, dataDir="/run/a/b"))
        twin.compare_leases("/run/a")
        twin.both("sh", "-c", "stat -c %a /run/a /run/a/b /run/a/b/net > /run/modes")
        twin.compare("modes", lambda host: host.read("/run/modes"))


def test_data_directory_that_cannot_be() -> None:
    """A dataDir that cannot be made is an error of every verb."""
    with Twin("file-words") as twin:
        twin.container()
        twin.write("/run/file", "")
        for verb in ("ADD", "CHECK", "DEL"):
            twin.step(verb, conf(**V4, dataDir="/run/file"))


def test_resolv_conf_missing() -> None:
    """A resolvConf that cannot be read is an error, before anything is reserved."""
    with Twin("file-words") as twin:
        twin.container()
        twin.step("ADD", conf(**V4, resolvConf="/run/nowhere"))
        twin.compare_leases()
