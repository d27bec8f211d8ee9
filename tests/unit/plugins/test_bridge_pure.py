"""What the bridge plugin decides before it touches anything: keys, errors, VLANs, gateways, routes."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, cast

import pytest

from dockercni.cni.result import IPConfig, Route
from dockercni.cni.runner import PluginCall, PluginRunner
from dockercni.linux import links
from dockercni.linux.netlink import Message, Netlink
from dockercni.plugins import bridge, bridge_conf, bridge_ports, firewall, portmap
from dockercni.plugins.contract import PluginFailure, Request

IPAM = {"type": "host-local"}


def request(cni_args: str = "", /, **conf: Any) -> Request:
    """A request for a bridge network."""
    call = PluginCall("bridge", "ADD", {}, {"CNI_ARGS": cni_args})
    return Request(call, conf, "net", "1.0.0", "c1", "/run/netns/c1", "eth0", cast("PluginRunner", None))


def read(cni_args: str = "", /, **conf: Any) -> bridge_conf.BridgeConf:
    """The configuration of such a request."""
    return bridge_conf.read(request(cni_args, **conf))


def test_defaults() -> None:
    """Without any key: bridge cni0, everything off."""
    found = read()
    assert found.bridge == "cni0"
    switches = [value for value in vars_of(found).values() if isinstance(value, bool)]
    assert len(switches) == 12
    assert not any(switches)


def vars_of(conf: bridge_conf.BridgeConf) -> dict[str, Any]:
    """The fields of a record with slots."""
    return {name: getattr(conf, name) for name in conf.__slots__}  # type: ignore[attr-defined]


def test_default_gateway_is_gateway() -> None:
    """isDefaultGateway implies isGateway."""
    assert read(isDefaultGateway=True).gateway


TRUNKS: list[tuple[list[dict[str, int]], tuple[int, ...]]] = [
    ([{"id": 5}], (5,)),
    ([{"minID": 3, "maxID": 5}, {"id": 4}, {"id": 9}], (3, 4, 5, 9)),
    ([{"minID": 1, "maxID": 2, "id": 4094}], (1, 2, 4094)),
    ([], ()),
]


@pytest.mark.parametrize(("trunk", "expected"), TRUNKS)
def test_trunk(trunk: Any, expected: tuple[int, ...]) -> None:
    """A trunk is the sum of its ranges and single VLANs, sorted; its mere presence asks for filtering."""
    found = read(vlanTrunk=trunk)
    assert found.trunk == expected
    assert found.vlan_filtering


VLAN_ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"vlan": -1}, "invalid VLAN ID -1 (must be between 0 and 4094)"),
    ({"vlan": 4095}, "invalid VLAN ID 4095 (must be between 0 and 4094)"),
    ({"vlanTrunk": [{"minID": 0, "maxID": 5}]}, "incorrect trunk minID parameter"),
    ({"vlanTrunk": [{"minID": 1, "maxID": 4095}]}, "incorrect trunk maxID parameter"),
    ({"vlanTrunk": [{"minID": 5, "maxID": 4}]}, "minID is greater than maxID in trunk parameter"),
    ({"vlanTrunk": [{"minID": 5}]}, "minID and maxID should be configured simultaneously, maxID is missing"),
    ({"vlanTrunk": [{"maxID": 5}]}, "minID and maxID should be configured simultaneously, minID is missing"),
    ({"vlanTrunk": [{"id": 0}]}, "incorrect trunk id parameter"),
    ({"vlanTrunk": [{"id": 4095}]}, "incorrect trunk id parameter"),
]


@pytest.mark.parametrize(("conf", "words"), VLAN_ERRORS)
def test_vlan_errors(conf: dict[str, Any], words: str) -> None:
    """Each bad VLAN has the words of the reference."""
    with pytest.raises(PluginFailure) as refused:
        read(**conf)
    assert refused.value.msg == words


EXCLUSIONS: list[tuple[dict[str, Any], str]] = [
    ({"ipam": IPAM, "disableContainerInterface": True}, "cannot use IPAM when DisableContainerInterface flag is set"),
    ({"hairpinMode": True, "promiscMode": True}, "cannot set hairpin mode and promiscuous mode at the same time"),
]


@pytest.mark.parametrize(("conf", "words"), EXCLUSIONS)
def test_exclusions(conf: dict[str, Any], words: str) -> None:
    """What cannot be had together is refused."""
    with pytest.raises(PluginFailure) as refused:
        bridge_conf.check_exclusions(read(**conf))
    assert refused.value.msg == words


def test_mac_precedence() -> None:
    """The capability is above args.cni, which is above CNI_ARGS."""
    low, middle, high = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"
    assert read(f"MAC={low}").mac == low
    assert read(f"MAC={low}", args={"cni": {"mac": middle}}).mac == middle
    assert read(f"MAC={low}", args={"cni": {"mac": middle}}, runtimeConfig={"mac": high}).mac == high


class Recorder:
    """Stands for a netlink socket: records what it is to carry out, and answers about one port."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def do(self, *messages: Message) -> None:
        """Record."""
        self.sent += messages

    def dump(self, _: Message) -> list[bytes]:
        """The port takes part in VLAN 1, as every port does at first."""
        return [links.add_vlan(7, 1, native=True).body]


JOINS: list[tuple[dict[str, Any], list[Message]]] = [
    ({"vlan": 100}, [links.remove_vlan(7, 1), links.add_vlan(7, 100, native=True)]),
    ({"vlan": 100, "preserveDefaultVlan": True}, [links.add_vlan(7, 100, native=True)]),
    (
        {"vlanTrunk": [{"id": 5}, {"id": 6}]},
        [
            links.remove_vlan(7, 1),
            links.add_vlan(7, 5),
            links.add_vlan(7, 6),
            links.add_vlan(7, 1, native=True),
        ],
    ),
    (
        {"vlan": 9, "vlanTrunk": [{"id": 5}]},
        [links.remove_vlan(7, 1), links.add_vlan(7, 9, native=True), links.add_vlan(7, 5)],
    ),
]


@pytest.mark.parametrize(("conf", "expected"), JOINS)
def test_vlans_of_a_port(conf: dict[str, Any], expected: list[Message], monkeypatch: pytest.MonkeyPatch) -> None:
    """A port leaves its default VLAN unless that is kept; a trunk without a VLAN of its own has 1 as the native one."""
    port = links.Link(7, "veth1", "veth", "", 1500, True, True, False, 2, 3)
    monkeypatch.setattr(links, "find", lambda *_: port)
    recorder, found = Recorder(), read(**conf)
    bridge_ports._join_vlans(cast("Netlink", recorder), "veth1", found, found.trunk)
    assert recorder.sent == expected


FLAGS: list[tuple[dict[str, Any], list[Message]]] = [
    ({}, []),
    ({"hairpinMode": True}, [links.set_port("veth1", hairpin=True, isolated=False)]),
    ({"portIsolation": True}, [links.set_port("veth1", hairpin=False, isolated=True)]),
]


@pytest.mark.parametrize(("conf", "expected"), FLAGS)
def test_flags_of_a_port(conf: dict[str, Any], expected: list[Message]) -> None:
    """A port sends back to where it came from, or is kept apart from others, only if it is to."""
    recorder = Recorder()
    bridge_ports.set_flags(cast("Netlink", recorder), "veth1", read(**conf))
    assert recorder.sent == expected


DEFAULT = ip_network("0.0.0.0/0")


def test_gateways_and_routes() -> None:
    """A missing gateway is the first address; a default route is added where none is, be it without gateway."""
    ips = [IPConfig(ip_interface("10.1.0.7/24")), IPConfig(ip_interface("fd00::7/64"), ip_address("fd00::9"))]
    given, routes = bridge.with_gateways(ips, [], read(isDefaultGateway=True))
    assert [str(ip.gateway) for ip in given] == ["10.1.0.1", "fd00::9"]
    assert [ip.interface for ip in given] == [2, 2]
    assert [(str(route.dst), str(route.gw)) for route in routes] == [("0.0.0.0/0", "10.1.0.1"), ("::/0", "fd00::9")]
    _, kept = bridge.with_gateways(ips[:1], [Route(DEFAULT)], read(isDefaultGateway=True))
    assert kept == (Route(DEFAULT),)
    plain, none = bridge.with_gateways(ips[:1], [], read())
    assert plain[0].gateway is None
    assert none == ()


SUPPORTED: list[tuple[Any, dict[str, Any], bool]] = [
    (bridge, {"ipMasqBackend": None, "whatever": None}, True),
    (bridge, dict.fromkeys(bridge_conf.KEYS, 0), True),
    (bridge, {"ipMasqBackend": "nftables"}, False),
    (bridge, {"whatever": 1}, False),
    (portmap, {"snat": False, "masqAll": False, "conditionsV4": [], "conditionsV6": [""]}, True),
    (portmap, {"masqAll": True}, False),
    (portmap, {"markMasqBit": 5}, False),
    (portmap, {"externalSetMarkChain": "X"}, False),
    (portmap, {"conditionsV4": ["-s", "10.0.0.0/8"]}, False),
    (portmap, {"ConditionsV6": ["ip6 saddr fd00::/8"]}, False),
    (portmap, {"backend": "iptables"}, False),
    (firewall, {"ingressPolicy": "isolated", "firewalldZone": "trusted"}, True),
    (firewall, {"backend": "iptables"}, False),
    (firewall, {"iptablesAdminChainName": "X"}, False),
]


@pytest.mark.parametrize(("plugin", "conf", "native"), SUPPORTED)
def test_supported(plugin: Any, conf: dict[str, Any], native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is about rules in a table that is not ours, or unknown, is left to the executable, and nothing else."""
    monkeypatch.setattr("dockercni.linux.nft.available", lambda: True)
    assert (plugin.unsupported(conf) == "") == native


def test_without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without libnftables, what needs it is left to the executables."""
    monkeypatch.setattr("dockercni.linux.nft.available", lambda: False)
    assert bridge.unsupported({"ipMasq": True}) == portmap.unsupported({}) == "libnftables is not installed"
    assert bridge.unsupported({}) == firewall.unsupported({}) == ""
