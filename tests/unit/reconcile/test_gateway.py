"""Which network has the default route, and a configuration or result without one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dockercni.cni import NetworkList, parse_list, parse_result
from dockercni.errors import LabelError
from dockercni.model import NetworkRequest
from dockercni.reconcile import gateway

V4, V6 = {"dst": "0.0.0.0/0"}, {"dst": "::/0"}
DUAL = [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]


def network(*plugins: dict[str, Any], version: str = "1.0.0") -> NetworkList:
    return parse_list(json.dumps({"cniVersion": version, "name": "n", "plugins": plugins}).encode())


def bridge(*routes: dict[str, Any], ranges: Any = DUAL, ipam: str = "host-local", **more: Any) -> dict[str, Any]:
    return {"type": "bridge", "ipam": {"type": ipam, "ranges": ranges, "routes": list(routes)}, **more}


EXPECTED = [
    ([bridge(V4)], {4}),
    ([bridge(V4, V6)], {4, 6}),
    ([bridge({"Dst": "::/0", "gw": "fd00::9"})], {6}),
    ([bridge({"dst": "0.0.0.0/0", "table": 99})], set()),
    ([bridge({"dst": "10.0.0.0/8"})], set()),
    ([bridge(isDefaultGateway=True)], {4, 6}),
    ([bridge(IsDefaultGateway=True, ranges=DUAL[:1])], {4}),
    ([bridge(ipam="dhcp")], {4}),
    ([bridge(ipam="whereabouts")], {4, 6}),
    ([{"type": "bridge"}], set()),
    ([{"type": "macvlan", "master": "eth0", "ipam": {"type": "static", "routes": [V6]}}], {6}),
    ([{"type": "flannel", "delegate": {"isDefaultGateway": True}}], {4, 6}),
    ([{"type": "calico"}], {4, 6}),
    ([bridge(V4), {"type": "sbr"}], set()),
    ([bridge(V4), {"type": "portmap"}, {"type": "firewall"}], {4}),
]


@pytest.mark.parametrize(("plugins", "versions"), EXPECTED, ids=[json.dumps(row[0])[:60] for row in EXPECTED])
def test_what_a_configuration_lets_expect(plugins: list[dict[str, Any]], versions: set[int]) -> None:
    """Routes of the main table and isDefaultGateway count; DHCP may give IPv4's, unknown plugins anything."""
    assert gateway.expected(network(*plugins)) == versions


def test_a_network_without() -> None:
    """Default routes of the given versions go, isDefaultGateway becomes isGateway and the other version's route."""
    before = network(bridge(V4, {"dst": "10.9.0.0/16"}, isDefaultGateway=True), {"type": "portmap"})
    after = gateway.without(before, {4})
    assert after.plugins[0].raw["ipam"]["routes"] == [{"dst": "10.9.0.0/16"}, V6]
    assert (after.plugins[0].raw["isDefaultGateway"], after.plugins[0].raw["isGateway"]) == (False, True)
    assert after.plugins[1].raw == before.plugins[1].raw
    assert (after.name, after.cni_version, gateway.expected(after)) == (before.name, before.cni_version, {6})
    assert gateway.without(before, ()) is before
    assert gateway.expected(gateway.without(before, {4, 6})) == set()
    moved = network(bridge(V4), {"type": "sbr"})
    assert gateway.without(moved, {4}) is moved
    nested = gateway.without(network({"type": "flannel", "delegate": {"isDefaultGateway": True}}), {4, 6})
    assert nested.plugins[0].raw["delegate"]["isDefaultGateway"] is False


@pytest.mark.parametrize("kind", ["dhcp", "whereabouts"])
def test_isdefaultgateway_with_addresses_that_nobody_knows(kind: str) -> None:
    """It stays where the other version might need it, for that the ADD is corrected afterwards."""
    found = gateway.without(network(bridge(isDefaultGateway=True, ipam=kind)), {4})
    assert found.plugins[0].raw["isDefaultGateway"] is (kind != "dhcp")


def test_a_result_without() -> None:
    """Only default routes of the main table go; unknown keys stay, and old results are understood."""
    raw = {
        "cniVersion": "1.1.0",
        "ips": [{"address": "10.1.0.2/24"}],
        "routes": [V4, V6, {"dst": "10.0.0.0/8"}, {**V4, "table": 9}],
        "x": 1,
    }
    result = parse_result(raw, "1.1.0")
    assert gateway.given(result) == {4, 6}
    without = gateway.stripped(result, {4})
    assert without.raw == {**raw, "routes": [V6, {"dst": "10.0.0.0/8"}, {**V4, "table": 9}]}
    assert gateway.given(without) == {6}
    assert result.raw == raw
    assert gateway.stripped(without, {4}) is without
    old = parse_result({"cniVersion": "0.2.0", "ip4": {"ip": "10.1.0.2/24", "routes": [V4]}}, "0.2.0")
    assert gateway.stripped(old, {4}).raw["ip4"] == {"ip": "10.1.0.2/24", "routes": []}


def requests(*names: str) -> list[NetworkRequest]:
    return [NetworkRequest(name, f"eth{position}") for position, name in enumerate(names)]


def test_ranking() -> None:
    """The first one comes first, or the one that a label names; one alone has no rivals."""
    (alone,) = gateway.ranked(requests("a"), "", lambda _: frozenset())
    assert alone.rivals is None
    plain = gateway.ranked(requests("a", "b"), "", lambda _: frozenset())
    assert [(one.network, one.rivals) for one in plain] == [("a", ()), ("b", (("a", "eth0"),))]
    chosen = gateway.ranked(requests("a", "b", "c"), "b", lambda _: frozenset({6}))
    assert [(one.network, one.ifname) for one in chosen] == [("b", "eth1"), ("a", "eth0"), ("c", "eth2")]
    assert chosen[2].rivals == (("b", "eth1"), ("a", "eth0"))


def test_a_label_that_cannot_be_fulfilled() -> None:
    """A network that the container is not on, or that has no gateway, is an error."""
    with pytest.raises(LabelError, match="not on that network"):
        gateway.ranked(requests("a"), "b", lambda _: frozenset({4}))
    with pytest.raises(LabelError, match="no default route to give"):
        gateway.ranked(requests("a", "b"), "b", lambda name: frozenset({4} if name == "a" else ()))
