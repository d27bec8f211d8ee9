"""bridge against the reference executable: results, errors, and what links, addresses, routes and sysctls became."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from tests.differential.twin import Twin
from tests.hosts import Host, wait_until

V4, V6 = {"subnet": "10.1.0.0/24"}, {"subnet": "fd00:1::/64"}
OTHER_V4, SECOND_V6 = {"subnet": "10.2.0.0/16"}, {"subnet": "fd00:2::/64"}
MAC, OTHER_MAC, THIRD_MAC = "02:11:22:33:44:55", "02:11:22:33:44:66", "02:11:22:33:44:77"
FAMILIES = {
    "v4": [[V4]],
    "v6": [[V6]],
    "dual": [[V4], [V6]],
    "three": [[V4], [OTHER_V4], [V6]],
}


def conf(version: str = "1.0.0", ranges: Any = None, routes: Any = (), **more: Any) -> dict[str, Any]:
    """A bridge network with host-local; `ranges=()` for one without IPAM."""
    ipam = {"type": "host-local", "ranges": [[V4]] if ranges is None else ranges, "routes": list(routes)}
    with_ipam = {} if ranges == () else {"ipam": ipam}
    return {"cniVersion": version, "name": "net", "type": "bridge", "bridge": "cni0", **with_ipam, **more}


def settle(twin: Twin) -> None:
    """Wait until the kernel has noticed on both sides what the bridge's ports mean for the bridge."""

    def settled(host: Host) -> bool:
        ports = host.run("bridge", "link").stdout
        shown = [
            line.split()[:2] for line in host.run("ip", "-br", "link", "show", "type", "bridge").stdout.splitlines()
        ]
        routes = "".join(host.run("ip", family, "route").stdout for family in ("-4", "-6")).splitlines()
        followed = all(
            (state == "UP") != (" linkdown" in route)
            for name, state in shown for route in routes if f" dev {name} " in route
        )  # fmt: skip
        return followed and all((state == "UP") == (f"master {name} " in ports) for name, state in shown)

    for side in (twin.reference, twin.native):
        with contextlib.suppress(TimeoutError):  # then they may differ, and the comparison says so
            wait_until(lambda: settled(side.host), 5, "the bridge")  # noqa: B023


def attach(twin: Twin, given: dict[str, Any], **more: Any) -> tuple[Any, Any]:
    """ADD; what it gave, links, addresses, routes, sysctls, leases."""
    container = more.get("container", "c1")
    outcomes = twin.chain("ADD", given, (None, None), **more)
    settle(twin)
    twin.compare_network(more.get("netns") or container)
    twin.compare_leases()
    return outcomes


def detach(twin: Twin, given: dict[str, Any], previous: tuple[Any, Any], **more: Any) -> None:
    """DEL, twice; then everything but the bridge is as before."""
    container = more.get("container", "c1")
    twin.chain("DEL", given, previous, **more)
    settle(twin)
    twin.compare_network(more.get("netns") or container)
    twin.compare_leases()
    twin.step("DEL", given, **more)


@pytest.mark.parametrize("version", ["", "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"])
@pytest.mark.parametrize("families", ["v4", "v6", "dual"])
def test_versions(version: str, families: str) -> None:
    """One address or two families, in every version of the specification."""
    given = conf(version, FAMILIES[families], isGateway=True)
    with Twin("queue-length", "port-without-ipv6", *(["keep-address"] if families != "v4" else [])) as twin:
        twin.container()
        detach(twin, given, attach(twin, given))


KEYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gateway": {"isGateway": True},
    "default-gateway": {"isDefaultGateway": True},
    "default-gateway-v6": {"isDefaultGateway": True, "ranges": FAMILIES["v6"]},
    "default-gateway-dual": {"isDefaultGateway": True, "ranges": FAMILIES["dual"]},
    "default-gateway-three": {"isDefaultGateway": True, "ranges": FAMILIES["three"], "ipMasq": False},
    "default-route-with-gw": {"isDefaultGateway": True, "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]},
    "default-route-without-gw": {"isGateway": True, "routes": [{"dst": "0.0.0.0/0"}]},
    "routes": {"isGateway": True, "routes": [{"dst": "10.9.0.0/16"}, {"dst": "10.8.0.0/16", "gw": "10.1.0.9"}]},
    "routes-v6": {"isGateway": True, "ranges": FAMILIES["dual"], "routes": [{"dst": "::/0"}, {"dst": "0.0.0.0/0"}]},
    "route-of-other-family": {"isGateway": True, "routes": [{"dst": "fd00:9::/64"}, {"dst": "10.9.0.0/16"}]},
    "default-bridge": {"bridge": "", "isGateway": True},
    "other-bridge": {"bridge": "br-other", "isGateway": True},
    "mtu": {"mtu": 1400, "isGateway": True},
    "mtu-zero": {"mtu": 0},
    "hairpin": {"hairpinMode": True},
    "promisc": {"promiscMode": True},
    "masquerade": {"ipMasq": True, "isGateway": True},
    "masquerade-dual": {"ipMasq": True, "isGateway": True, "ranges": FAMILIES["dual"]},
    "spoof-check": {"macspoofchk": True, "isGateway": True},
    "dad": {"enabledad": True, "isGateway": True, "ranges": FAMILIES["dual"]},
    "dad-v4": {"enabledad": True},
    "force": {"forceAddress": True, "isGateway": True},
    "args-mac": {"args": {"cni": {"mac": MAC}}},
    "runtime-mac": {"args": {"cni": {"mac": MAC}}, "runtimeConfig": {"mac": OTHER_MAC}},
    "case": {"IsGateWay": True, "MTU": 1300},
    "null": {"isGateway": None, "mtu": None, "bridge": None},
    "dns": {"dns": {"nameservers": ["10.1.0.53"], "domain": "a", "search": ["b"], "options": ["c"]}},
    "dns-empty": {"dns": {}},
    "layer-2": {"ranges": ()},
    "layer-2-hairpin": {"ranges": (), "hairpinMode": True, "mtu": 1300},
    "layer-2-masquerade": {"ranges": (), "ipMasq": True, "isGateway": True},
}


ROUTES_CHECKED = {"routes": ["route-check"], "route-of-other-family": ["route-check"]}


@pytest.mark.parametrize("case", KEYS)
def test_keys(case: str) -> None:
    """Each key: result, state of host and container after ADD, CHECK, and state after DEL."""
    given = conf(**KEYS[case])
    expected = ["layer-2-check"] if case.startswith("layer-2") else ROUTES_CHECKED.get(case, [])
    with Twin(*expected) as twin:
        twin.container()
        previous = attach(twin, given)
        twin.chain("CHECK", given, previous)
        detach(twin, given, previous)


def test_spoof_check() -> None:
    """The rules that let a container send with its own MAC only are the executable's, and go with the container."""
    given = conf(isGateway=True, macspoofchk=True)
    with Twin() as twin:
        twin.container()
        previous = attach(twin, given)
        twin.compare("rules", spoof_rules)
        detach(twin, given, previous)
        twin.compare("rules", spoof_rules)


def spoof_rules(host: Host) -> list[str]:
    """What nft shows of frames that pass bridges."""
    return host.run("nft", "list", "ruleset", "bridge").stdout.splitlines()


def test_mac_precedence() -> None:
    """The capability is above args.cni, which is above CNI_ARGS."""
    with Twin() as twin:
        twin.container()
        ways: tuple[dict[str, Any], ...] = (
            {},
            {"args": {"cni": {"mac": OTHER_MAC}}},
            {"runtimeConfig": {"mac": THIRD_MAC}, "args": {"cni": {"mac": MAC}}},
        )
        for index, more in enumerate(ways):
            attach(
                twin,
                conf(isGateway=True, **more),
                ifname=f"eth{index}",
                container=f"k{index}",
                netns="c1",
                args=f"IgnoreUnknown=1;MAC={MAC}",
            )


def test_several_containers() -> None:
    """Three containers on one bridge: the bridge keeps its index and its MAC, and DEL of one leaves the others."""
    given = conf(isGateway=True, ipMasq=True)
    with Twin() as twin:
        for name in ("c1", "c2", "c3"):
            twin.container(name)
        previous = {name: attach(twin, given, container=name) for name in ("c1", "c2", "c3")}
        for name in ("c2", "c1", "c3"):
            detach(twin, given, previous[name], container=name)


def test_two_interfaces() -> None:
    """A container with two interfaces on one network."""
    given = conf(isGateway=True)
    with Twin() as twin:
        twin.container()
        first = attach(twin, given)
        second = attach(twin, given, ifname="eth1")
        detach(twin, given, first)
        detach(twin, given, second, ifname="eth1")


def test_existing_bridge() -> None:
    """A bridge that is there already is used as it is."""
    given = conf(isGateway=True, mtu=1400)
    with Twin() as twin:
        twin.container()
        twin.both("ip", "link", "add", "cni0", "address", MAC, "type", "bridge")
        previous = attach(twin, given)
        detach(twin, given, previous)


FORCED: dict[str, tuple[Any, Any, bool]] = {
    "v4": ([[V4]], [[OTHER_V4]], False),
    "v4-forced": ([[V4]], [[OTHER_V4]], True),
    "v6-overlapping": (
        [[V6]],
        [[{"subnet": "fd00:1::/48", "rangeStart": "fd00:1::10", "gateway": "fd00:1::9"}]],
        False,
    ),
    "v6-overlapping-forced": (
        [[V6]],
        [[{"subnet": "fd00:1::/48", "rangeStart": "fd00:1::10", "gateway": "fd00:1::9"}]],
        True,
    ),
    "v6-disjoint": ([[V6]], [[SECOND_V6]], False),
}


@pytest.mark.parametrize("case", FORCED)
def test_force_address(case: str) -> None:
    """A bridge with another address: refused, replaced with forceAddress, or joined where IPv6 does not overlap."""
    first, second, force = FORCED[case]
    with Twin() as twin:
        twin.container()
        twin.container("c2")
        attach(twin, conf(ranges=first, isGateway=True))
        attach(twin, {**conf(ranges=second, isGateway=True, forceAddress=force), "name": "second"}, container="c2")


FAILING: dict[str, dict[str, Any]] = {
    "vlan-negative": {"vlan": -1},
    "vlan-high": {"vlan": 4095},
    "hairpin-and-promisc": {"hairpinMode": True, "promiscMode": True},
    "no-such-ipam": {"ipam": {"type": "nonsense"}},
    "bad-mac": {"runtimeConfig": {"mac": "nonsense"}},
    "multicast-mac": {"runtimeConfig": {"mac": "01:00:00:00:00:01"}},
    "mtu-small": {"mtu": 10},
    "mtu-string": {"mtu": "1500"},
    "boolean-string": {"isGateway": "yes"},
    "long-name": {"bridge": "a-name-that-is-too-long"},
    "unreachable-gateway": {"ipMasq": True, "routes": [{"dst": "10.9.0.0/16", "gw": "10.77.0.1"}]},
    "address-taken": {"ranges": [[V4]], "args": {"cni": {"ips": ["10.1.0.1"]}}},
}


WORDS = {
    "hairpin-and-promisc": ["later-words"],
    "no-such-ipam": ["unknown-ipam"],
    "bad-mac": ["later-words"],
    "mtu-small": ["bridge-refused"],
    "mtu-string": ["bridge-types"],
    "boolean-string": ["bridge-types"],
    "long-name": ["bridge-refused"],
    "unreachable-gateway": ["route-words", "masquerade-never-made"],
}


@pytest.mark.parametrize("case", FAILING)
def test_errors(case: str) -> None:
    """What the executable refuses is refused; state and leases are alike after ADD and after DEL."""
    given = conf(**FAILING[case])
    with Twin(*WORDS.get(case, ())) as twin:
        twin.container()
        twin.step("ADD", given)
        twin.step("DEL", given)
        settle(twin)
        twin.compare_network("c1")
        twin.compare_leases()


def test_interface_exists() -> None:
    """A taken interface name is an error, and the other interface stays."""
    with Twin("later-words") as twin:
        twin.container()
        twin.both("ip", "-n", "c1", "link", "add", "eth0", "type", "veth", "peer", "name", "far")
        twin.step("ADD", conf())
        settle(twin)
        twin.compare_network("c1")
        twin.compare_leases()


def test_name_is_no_bridge() -> None:
    """A link of the bridge's name that is no bridge is an error."""
    with Twin() as twin:
        twin.container()
        twin.both("ip", "link", "add", "cni0", "type", "veth", "peer", "name", "far")
        twin.step("ADD", conf())


def test_arguments() -> None:
    """CNI_ARGS knows MAC, and fails for anything else without IgnoreUnknown."""
    with Twin() as twin:
        twin.container()
        for args in ("K=v", "MAC", "IgnoreUnknown=maybe"):
            twin.step("ADD", conf(), args=args)
            twin.step("DEL", conf(), args=args)


def test_missing_namespace() -> None:
    """ADD needs the namespace; DEL does without, and gives the address back."""
    given = conf(isGateway=True)
    with Twin("netns-words") as twin:
        twin.container()
        twin.step("ADD", given, netns="/run/netns/nonsense")
        twin.step("DEL", given, netns="/run/netns/nonsense")
        twin.step("DEL", given, netns="")
        previous = attach(twin, given)
        twin.both("ip", "netns", "delete", "c1")
        twin.chain("DEL", given, previous)
        twin.compare_leases()


CHECKS = {
    "address": ("-n", "c1", "address", "flush", "dev", "eth0"),
    "route": ("-n", "c1", "route", "delete", "10.9.0.0/16"),
    "mac": ("-n", "c1", "link", "set", "eth0", "address", MAC),
    "link": ("-n", "c1", "link", "delete", "eth0"),
    "bridge-mac": ("link", "set", "cni0", "address", MAC),
    "bridge": ("link", "delete", "cni0"),
    "promisc": ("link", "set", "cni0", "promisc", "on"),
}


@pytest.mark.parametrize("case", CHECKS)
def test_check_notices(case: str) -> None:
    """CHECK fails for what is not as ADD left it."""
    given = conf(isGateway=True, routes=[{"dst": "10.9.0.0/16"}])
    with Twin(*({"route": ["route-check"]}.get(case, []))) as twin:
        twin.container()
        previous = attach(twin, given)
        twin.both("ip", *CHECKS[case])
        twin.chain("CHECK", given, previous)


def test_check_needs_previous() -> None:
    """CHECK without prevResult is an error."""
    with Twin() as twin:
        twin.container()
        attach(twin, conf())
        twin.step("CHECK", conf())
