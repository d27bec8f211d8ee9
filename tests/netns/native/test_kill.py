"""SIGKILL between any two steps of a built-in ADD: the DEL after it leaves nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.netns.native.conftest import DUAL, FIREWALL, PORTMAP, chain

if TYPE_CHECKING:
    from tests.netns.native.conftest import Attached

PORTS = [
    {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
    {"hostPort": 53, "containerPort": 53, "protocol": "udp"},
]
EMPTY = {"links": "", "leases": "", "rules": "", "cache": ""}
pytestmark = pytest.mark.timeout(400)  # two processes for each of some thirty steps


def test_killed_between_steps(attached: Attached) -> None:
    """Killed before each step in turn, an ADD that finds neither bridge nor table leaves nothing after its DEL."""
    network = chain(PORTMAP, FIREWALL, ipam=DUAL, macspoofchk=True)
    attached.container("c1")
    killed = 0
    while True:
        done = attached.run("ADD", network, ports=PORTS, steps=killed, check=False)
        if done.returncode == 0:
            break
        assert done.returncode in {-9, 137}, done.stderr
        killed += 1
        attached.run("DEL", network, ports=PORTS)
        assert attached.left() == EMPTY, f"after {killed} steps"
        attached.host.run("sh", "-c", "nft flush ruleset; ip link delete cni0 2>/dev/null || :")
    found = re.search(r"steps (\d+)", done.stderr)
    assert found
    assert int(found[1]) == killed
    assert killed > 15
    attached.run("DEL", network, ports=PORTS)
    assert attached.left() == EMPTY


def test_killed_and_namespace_gone(attached: Attached) -> None:
    """The same when the namespace is gone by the time of the DEL."""
    network = chain(PORTMAP, FIREWALL)
    killed = 0
    while True:
        name = f"c{killed}"
        attached.container(name)
        done = attached.run("ADD", network, name, ports=PORTS, steps=killed, check=False)
        attached.host.run("ip", "netns", "delete", name)
        attached.host.wait_until(lambda: not attached.left()["links"], 10, "the end of the links")
        attached.run("DEL", network, name, netns="", ports=PORTS)
        assert attached.left() == EMPTY, f"after {killed} steps"
        if done.returncode == 0:
            break
        killed += 1
