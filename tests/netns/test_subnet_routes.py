"""The kernel's route to the subnet of a link's address, made again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.hosts import Host

MAKE = """
from ipaddress import ip_interface
from dockercni.linux import addr, links
from dockercni.linux.netlink import Netlink

with Netlink() as host:
    host.do(addr.add_subnet_route(links.find(host, "own").index, ip_interface("192.0.2.1/24")))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_behind_the_others() -> None:
    """It stands where the kernel puts it: behind the route of another link with that subnet, the uplink's, say."""
    with Host() as host:
        for link, address in (("uplink", "192.0.2.5/24"), ("own", "192.0.2.1/24")):
            host.run("ip", "link", "add", "name", link, "type", "bridge")
            host.run("ip", "link", "set", "dev", link, "up")
            host.run("ip", "address", "add", address, "dev", link)
        before = host.run("ip", "-4", "route", "show", "192.0.2.0/24").stdout
        host.run("ip", "route", "del", "192.0.2.0/24", "dev", "own")
        host.run(sys.executable, "-c", MAKE, env={"PYTHONPATH": str(Path(__file__).parents[2])})
        assert host.run("ip", "-4", "route", "show", "192.0.2.0/24").stdout == before
        assert before.index("dev uplink") < before.index("dev own")
