"""Links, routes and iptables of the host."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hosts import Host

LINKS = """
import json
from dockercni.linux import host_links as links
print(json.dumps({
    "through": [name for name in ("br0", "v0", "v1", "lo", "none", "x" * 15, "/") if links.routed(name)],
    "shared": sorted(links.routed_links().shared),
    "all": sorted(links.routed_links().routed),
}))
"""


def test_links_and_routes(host: Host, inside: Callable[[str], str]) -> None:
    """Ports of bridges are told from links that packets are routed over, and those with gateways behind them from
    others."""
    for words in (
        "link add br0 type bridge",
        "link add br1 type bridge",
        "link add v0 type veth peer name v1",
        "link set v0 master br0",
        "link set br0 up",
        "link set br1 up",
        "address add 10.22.0.1/16 dev br0",
        "address add 10.122.0.1/16 dev br1",
        "route add default via 10.122.0.9",
        "route add 192.0.2.0/24 via 10.122.0.9",
    ):
        host.run("ip", *words.split())
    found = json.loads(inside(LINKS))
    assert found["through"] == ["br0", "v1"]
    assert {"br0", "br1", "v1"} <= set(found["all"])
    assert found["shared"] == ["br1"]
    host.run("ip", "link", "set", "v0", "nomaster")
    assert json.loads(inside(LINKS))["through"] == ["br0", "v0", "v1"]


REMOVE = """
import json
from dockercni.linux.host_links import remove_bridge
print(json.dumps([remove_bridge(name) for name in ("full", "empty", "empty", "v0")]))
"""


def test_a_bridge_goes_only_without_ports(host: Host, inside: Callable[[str], str]) -> None:
    """A bridge is removed if it has no ports; one that has some, one that is gone, and another link are left alone."""
    for words in (
        "link add full type bridge",
        "link add empty type bridge",
        "link add v0 type veth peer name v1",
        "link set v0 master full",
    ):
        host.run("ip", *words.split())
    assert json.loads(inside(REMOVE)) == [False, True, False, False]
    assert host.run("ip", "-o", "link", "show", "type", "bridge").stdout.count("\n") == 1


FILTERS = """
import json
from dockercni.linux import iptables
print(json.dumps([table.command for table in iptables.filters(4)]))
"""


def test_flavours(host: Host, inside: Callable[[str], str]) -> None:
    """The tables of both flavours are found where there are some, and asking makes none."""
    assert json.loads(inside(FILTERS)) == ["iptables"]
    assert json.loads(inside(FILTERS)) == ["iptables"]
    host.run("iptables-legacy", "-A", "FORWARD", "-j", "ACCEPT")
    assert json.loads(inside(FILTERS)) == ["iptables-legacy"]
    host.run("iptables-nft", "-A", "FORWARD", "-j", "ACCEPT")
    assert json.loads(inside(FILTERS)) == ["iptables-nft", "iptables-legacy"]
    host.run("iptables-legacy", "-F", "FORWARD")
    host.run("iptables-nft", "-F", "FORWARD")


def test_without_iptables(host: Host, inside: Callable[[str], str]) -> None:
    """Where there is no iptables there are no tables, and nothing fails."""
    code = "import os; os.environ['PATH'] = '/nowhere'\nfrom dockercni.linux.iptables import *\nprint(filters(4))"
    assert inside(code) == "[]\n"
