"""Elements of our table, as nft would write them, and whose they are."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from typing import Any, cast

import pytest

from dockercni.cni.result import Interface, IPConfig, Result
from dockercni.cni.runner import PluginCall, PluginRunner
from dockercni.cni.strict_json import Fields
from dockercni.plugins import bridge, firewall, layout, portmap, ruleset
from dockercni.plugins.contract import PluginFailure, Request
from dockercni.plugins.ruleset import Owner

OWNER = Owner("c1", "eth0", "net")
V4, V6 = ip_interface("10.1.0.2/24"), ip_interface("fd00:1::2/64")
ATTACHED = Result(
    "1.0.0",
    (Interface("cni0"), Interface("veth1"), Interface("eth0", sandbox="/run/netns/c1")),
    (IPConfig(V4, interface=2), IPConfig(V6, interface=2)),
)


def test_elements_in_words() -> None:
    """Every kind of element, for both families."""
    host = ip_address("198.51.100.1")
    elements = [
        ruleset.source(V4, OWNER),
        ruleset.target(V6, OWNER),
        ruleset.port("tcp", 8080, V4.ip, 80, OWNER),
        ruleset.port("udp", 53, V4.ip, 5353, OWNER, host),
        *ruleset.bridge("cni0", isolated=True),
    ]
    assert [f"{element.set} {layout.describe(element)}" for element in elements] == [
        'leaving-10.1.0.0/24 10.1.0.2 comment "c1 eth0 net"',
        'returning-fd00_1__/64 fd00:1::2 comment "c1 eth0 net"',
        'ports4 6 . 8080 comment "c1 eth0 net" : 10.1.0.2 . 80',
        'addressed4 198.51.100.1 . 17 . 53 comment "c1 eth0 net" : 10.1.0.2 . 5353',
        'bridges "cni0" comment "cni0"',
        'within "cni0" . "cni0" comment "cni0" : drop',
    ]


def test_rules_follow_from_names() -> None:
    """The name of a subnet's set says which rules look into it."""
    six = ruleset.source(V6, OWNER).set
    away = "ip6 daddr != fd00:1::/64 ip6 daddr != ff00::/8"
    assert layout.subnet(six).splitlines() == [
        f"create set inet dockercni {six} {{ type ipv6_addr; }}",
        f"add rule inet dockercni leaving ip6 saddr @{six} {away} masquerade",
    ]
    four = ruleset.target(V4, OWNER).set
    assert layout.rules_of(four) == [
        f"ip daddr @{four} ip saddr 10.1.0.0/24 masquerade",
        f"ip daddr @{four} ip saddr 127.0.0.0/8 masquerade",
    ]


def test_comment_is_cut() -> None:
    """A long network name does not make a comment that nft cannot read."""
    assert len(Owner("a" * 64, "eth0", "n" * 200).comment) == 127


@pytest.mark.parametrize("name", ["net", "n" * 200])
def test_invalid(name: str) -> None:
    """GC takes what names its network and no valid attachment; and leaves what names another network."""
    conf = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}
    call = PluginCall("bridge", "GC", b"", {})
    unwanted = ruleset.invalid(Request(call, conf, name, "1.1.0", "", "", "", cast("PluginRunner", None)))
    owners = [("c1", "eth0", name), ("c1", "eth1", name), ("c2", "eth0", name), ("c2", "eth0", "another")]
    assert [unwanted(Owner(*owner).comment) for owner in owners] == [False, True, True, False]


def conf(*mappings: dict[str, Any], **more: Any) -> Fields:
    """The configuration of a portmap plugin."""
    return Fields({"runtimeConfig": {"portMappings": list(mappings)}, **more})


TCP = {"hostPort": 8080, "containerPort": 80, "protocol": "TCP"}


def test_published_ports() -> None:
    """A port of any address is published in both families, one of an address in its own, and the first of two wins."""
    sets = [element.set for element in portmap.elements(OWNER, conf(TCP), ATTACHED)]
    assert sets == ["ports4", "returning-10.1.0.0/24", "ports6", "returning-fd00_1__/64"]
    of_one = conf({**TCP, "hostIP": "198.51.100.1"}, {**TCP, "hostIP": "::"}, snat=False)
    assert [element.set for element in portmap.elements(OWNER, of_one, ATTACHED)] == ["addressed4", "ports6"]
    twice = portmap.elements(OWNER, conf(TCP, {**TCP, "containerPort": 81}), ATTACHED)
    assert [layout.describe(each)[-13:] for each in twice if each.set == "ports4"] == ["10.1.0.2 . 80"]


PORT_ERRORS = [
    ({"hostPort": 0}, "failed to parse config: Invalid host port number: 0"),
    ({"hostPort": 65536}, "failed to parse config: Invalid host port number: 65536"),
    ({"containerPort": -1}, "failed to parse config: Invalid container port number: -1"),
    ({"protocol": "icmp"}, 'unknown protocol "icmp" of port 8080'),
]


@pytest.mark.parametrize(("change", "words"), PORT_ERRORS)
def test_bad_ports(change: dict[str, Any], words: str) -> None:
    """A port that cannot be is named."""
    with pytest.raises(PluginFailure) as refused:
        portmap.elements(OWNER, conf({**TCP, **change}), ATTACHED)
    assert refused.value.msg == words


def test_masquerade_and_policy() -> None:
    """Without ipMasq or IPAM nothing is masqueraded; a policy is the bridge's, which is the first link."""
    assert bridge.elements(OWNER, Fields({"ipMasq": True}), ATTACHED) == []
    both = bridge.elements(OWNER, Fields({"ipMasq": True, "ipam": {"type": "x"}}), ATTACHED)
    assert [element.set for element in both] == ["leaving-10.1.0.0/24", "leaving-fd00_1__/64"]
    assert firewall.elements(OWNER, Fields({"ingressPolicy": "open"}), ATTACHED) == []
    same = firewall.elements(OWNER, Fields({"ingressPolicy": "same-bridge"}), ATTACHED)
    assert same == ruleset.bridge("cni0", isolated=False)


def test_a_port_for_people() -> None:
    """A published port is described by protocol, port, target and container, and not as nft has it."""
    owner = Owner("0123456789abcdef", "eth0", "net")
    tcp, udp = ruleset.port("tcp", 8080, V4.ip, 80, owner), ruleset.port("udp", 53, V6.ip, 5353, owner, V6.ip)
    assert [layout.port_words(each) for each in (tcp, udp)] == [
        "port 8080/tcp of the host leads to 10.1.0.2:80 of container 0123456789ab (eth0 on network net)",
        "port 53/udp of address fd00:1::2 leads to [fd00:1::2]:5353 of container 0123456789ab (eth0 on network net)",
    ]
