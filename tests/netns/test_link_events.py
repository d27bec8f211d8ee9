"""What the kernel tells of links that lose something, and what is no news."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hosts import Host

WATCH = """
import json, subprocess, sys
from dockercni.linux.events import LinkEvents
events = LinkEvents()
for command in json.loads({commands!r}):
    subprocess.run(["/bin/sh", "-c", command], check=True)
subprocess.run(["/bin/sh", "-c", "ip link add name end type veth peer name dne; ip link delete end"], check=True)
print(json.dumps(sorted(events.wait(0.2, 5))))
"""
WIRED = (
    "ip link add name br0 type bridge; ip link add name v0 type veth peer name v1; ip link set v0 master br0;"
    "ip link set br0 up; ip link set v0 up; ip link set v1 up; ip address add 10.5.0.1/24 dev br0;"
    "sysctl -qw net.ipv4.ip_forward=1"
)


@pytest.mark.parametrize(
    ("command", "links"),
    [
        ("ip link delete br0", {"br0"}),
        ("ip link set br0 down", {"br0"}),
        ("ip address delete 10.5.0.1/24 dev br0", {"br0"}),
        ("ip link set v0 nomaster", {"v0"}),
        ("ip link set v0 down", {"v0"}),
        ("ip link delete v0", {"v0"}),
        ("ip link set v0 type bridge_slave hairpin on", {"v0"}),
        ("ip route add 10.6.0.0/24 dev br0; ip route delete 10.6.0.0/24", {"br0"}),
        ("sysctl -qw net.ipv4.conf.br0.forwarding=0", {"br0"}),
        ("sysctl -qw net.ipv4.ip_forward=0", {"*"}),
        ("ip link set br0 promisc on; ip link set br0 promisc off", {"br0"}),
    ],
)
def test_losses(host: Host, inside: Callable[[str], str], command: str, links: set[str]) -> None:
    """The link is named that lost something."""
    host.run("/bin/sh", "-c", WIRED)
    try:
        assert links <= set(json.loads(inside(WATCH.format(commands=json.dumps([command])))))
    finally:
        host.run("/bin/sh", "-c", "ip link delete br0; ip link delete v0", check=False)


def test_a_start_is_no_news_of_the_bridge(host: Host, inside: Callable[[str], str]) -> None:
    """A port that comes and goes says nothing of the bridge: nobody looks at the others for each start."""
    host.run("/bin/sh", "-c", WIRED)
    come = "ip link add name v2 type veth peer name v3; ip link set v2 master br0; ip link set v2 up; ip link set v3 up"
    found = set(json.loads(inside(WATCH.format(commands=json.dumps([come, "ip link delete v2"])))))
    host.run("/bin/sh", "-c", "ip link delete br0; ip link delete v0", check=False)
    assert not found & {"br0", "v0", "*"}
