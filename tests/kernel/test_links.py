"""Links, routes and iptables of the host."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hosts import Host

LINKS = """
import json
from dockercni.kernel.facts import routed
from dockercni.kernel.links import has_ports, is_bridge
print(json.dumps({
    "bridges": [name for name in ("br0", "v0", "lo", "none", "x" * 15) if is_bridge(name)],
    "ports": [name for name in ("br0", "br1", "v0", "none") if has_ports(name)],
    "routed": sorted(map(str, routed(besides="br0"))),
}))
"""


def test_bridges_ports_routes(host: Host, inside: Callable[[str], str]) -> None:
    """Bridges are told from other links, with and without ports; default routes and those of one link do not count."""
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
    assert found["bridges"] == ["br0"]
    assert found["ports"] == ["br0"]
    assert {"10.122.0.0/16", "192.0.2.0/24"} <= set(found["routed"])
    assert not [route for route in found["routed"] if route.startswith(("10.22.", "0."))]
    host.run("ip", "link", "set", "v0", "nomaster")
    assert json.loads(inside(LINKS))["ports"] == []


IPTABLES = """
import json
from dockercni.kernel.iptables import IptablesError, filter_chains
assert filter_chains("NO-SUCH-CHAIN") == []
(chain,) = filter_chains("T-USER")
print(chain.command)
first = '-i br0 -m comment --comment "dockercni:br0" -j ACCEPT'
chain.change(insert=[first, "-o br0 -j ACCEPT"])
print(json.dumps(chain.rules()))
try:
    chain.change(delete=["-o br0 -j ACCEPT", "-o none -j ACCEPT"])
except IptablesError as error:
    print("failed", "iptables" in str(error))
print(json.dumps(chain.rules()))
chain.change(delete=[first], insert=["-o br1 -j ACCEPT"])
print(json.dumps(chain.rules()))
"""


def test_iptables(host: Host, inside: Callable[[str], str]) -> None:
    """Rules go in on top in their order, all or none, and come back as they were given."""
    host.run("iptables", "-N", "T-USER")
    host.run("iptables", "-A", "T-USER", "-j", "RETURN")
    command, first, failed, second, third = inside(IPTABLES).splitlines()
    assert command == "iptables"
    rule = '-i br0 -m comment --comment "dockercni:br0" -j ACCEPT'
    assert json.loads(first) == json.loads(second) == [rule, "-o br0 -j ACCEPT", "-j RETURN"]
    assert failed == "failed True"
    assert json.loads(third) == ["-o br1 -j ACCEPT", "-o br0 -j ACCEPT", "-j RETURN"]
    host.run("iptables", "-F", "T-USER")
    host.run("iptables", "-X", "T-USER")


def test_without_iptables(host: Host, inside: Callable[[str], str]) -> None:
    """Where there is no iptables there are no chains, and nothing fails."""
    code = (
        "import os; os.environ['PATH'] = '/nowhere'\nfrom dockercni.kernel.iptables import *\nprint(filter_chains('X'))"
    )
    assert inside(code) == "[]\n"
