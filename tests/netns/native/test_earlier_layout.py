"""A table that an earlier version wrote, with verdict maps that led to a chain for each subnet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.elements import found
from tests.netns.native.conftest import DUAL, PORTMAP, chain
from tests.netns.native.test_defects import PORTS, table

if TYPE_CHECKING:
    from tests.netns.native.conftest import Attached

NETWORK = chain(PORTMAP, version="1.1.0", ipam=DUAL)
OTHER_PORTS = [{**PORTS[0], "hostPort": 8081}]
MAPS = {
    "sources4": ("ipv4_addr", "10.1.0.{} : jump leaving-10.1.0.0/24"),
    "sources6": ("ipv6_addr", "fd00:1::{} : jump leaving-fd00_1__/64"),
    "targets4": ("ipv4_addr", "10.1.0.{} : jump returning-10.1.0.0/24"),
    "targets6": ("ipv6_addr", "fd00:1::{} : jump returning-fd00_1__/64"),
}
CHAINS = {
    "leaving-10.1.0.0/24": ("ip daddr 10.1.0.0/24 return", "ip daddr 224.0.0.0/4 return", "masquerade"),
    "leaving-fd00_1__/64": ("ip6 daddr fd00:1::/64 return", "ip6 daddr ff00::/8 return", "masquerade"),
    "returning-10.1.0.0/24": ("ip saddr 10.1.0.0/24 masquerade", "ip saddr 127.0.0.0/8 masquerade"),
    "returning-fd00_1__/64": ("ip6 saddr fd00:1::/64 masquerade",),
    "leaving-10.2.0.0/24": ("ip daddr 10.2.0.0/24 return", "masquerade"),  # which nobody is in any more
}
POSTROUTING = (
    "ct status dnat ip daddr vmap @targets4",
    "ct status dnat ip6 daddr vmap @targets6",
    "ip saddr vmap @sources4",
    "ip6 saddr vmap @sources6",
)


def age(attached: Attached) -> None:
    """Give the table the layout that it had, with the same containers in it."""
    lines = [f"flush chain inet dockercni {name}" for name in ("postrouting", "leaving", "returning")]
    lines += [f"delete chain inet dockercni {name}" for name in ("leaving", "returning")]
    lines += [f"delete set inet dockercni {name}" for name in CHAINS if "10.2" not in name]
    for name, rules in CHAINS.items():
        lines.append(f"add chain inet dockercni {name}")
        lines += [f"add rule inet dockercni {name} {rule}" for rule in rules]
    for name, (kind, element) in MAPS.items():
        lines.append(f"add map inet dockercni {name} {{ type {kind} : verdict; }}")
        for last, container in ((2, "c1"), (3, "c2")):
            key, verdict = element.format(last).split(" : ")
            comment = f'comment "{container} eth0 net"'
            lines.append(f"add element inet dockercni {name} {{ {key} {comment} : {verdict} }}")
    lines += [f"add rule inet dockercni postrouting {rule}" for rule in POSTROUTING]
    attached.host.run("nft", "-f", "-", input="\n".join(lines))


@pytest.mark.parametrize("verb", ["CHECK", "REPAIR", "ADD", "DEL", "DEL without result", "GC"])
def test_carried_over(attached: Attached, verb: str) -> None:
    """Whichever verb comes first after an update, all that is attached keeps its elements, in the layout of today."""
    for name, ports in (("c1", PORTS), ("c2", OTHER_PORTS), ("c3", PORTS)):
        attached.container(name)
        if name != "c3":
            attached.add(NETWORK, name, ports=ports)
    before, listed = set(found(attached.host)), table(attached)
    age(attached)
    assert not before <= set(found(attached.host))
    match verb:
        case "ADD":
            third = [{**PORTS[0], "hostPort": 8082}]
            attached.add(NETWORK, "c3", ports=third)
            attached.run("DEL", NETWORK, "c3", ports=third)
        case "DEL without result":
            attached.host.run("rm", "/var/lib/cni/results/net-c2-eth0")
            attached.run("DEL", NETWORK, "c2", ports=OTHER_PORTS)
        case "DEL":
            attached.run("DEL", NETWORK, "c2", ports=OTHER_PORTS)
        case _:
            attached.run(verb, NETWORK, "c1", ports=PORTS)
    if verb in {"DEL", "DEL without result", "GC"}:
        assert set(found(attached.host)) == {rule for rule in before if "(c2 " not in rule[1]}
    else:
        assert table(attached) == listed
