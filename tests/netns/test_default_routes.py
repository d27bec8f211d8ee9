"""Default routes of a namespace are brought back to what they were, whatever was done to them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.hosts import Host

KEEP = """
import subprocess, sys
from dockercni.linux import addr
from dockercni.linux.netns import Namespace

with Namespace.open("/run/netns/c") as namespace:
    before = addr.default_routes(namespace)
    subprocess.run(["ip", "netns", "exec", "c", "sh", "-c", sys.argv[1]], check=True)
    addr.keep_default_routes(namespace, before, (4, 6), "b")
    after = addr.default_routes(namespace)
print(sorted(map(str, before)) == sorted(map(str, after)), len(after))
"""

HARM = {
    "another before it": "ip route prepend default via 192.0.2.9 dev b",
    "replaced": "ip route replace default via 192.0.2.9 dev b",
    "one more next hop": "ip -6 route append default via 2001:db8:2::9 dev b",
    "another metric": "ip route add default via 192.0.2.9 dev b metric 5; ip -6 route add default dev b metric 1",
    "gone": "ip route del default; ip -6 route del default",
}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_kept() -> None:
    """Routes that came go, of several next hops only the new one, and those that went come back; where the kernel does
    not let them, because IPv6 was switched off, that is no failure."""
    with Host() as host:

        def kept(harm: str) -> str:
            env = {"PYTHONPATH": str(Path(__file__).parents[2])}
            return host.run(sys.executable, "-c", KEEP, harm, env=env).stdout.strip()

        host.run("ip", "netns", "add", "c")
        inside = ("ip", "-netns", "c")
        host.run(*inside, "link", "add", "name", "a", "type", "veth", "peer", "name", "b")
        for link, number in (("a", 1), ("b", 2)):
            host.run(*inside, "address", "add", f"192.0.2.{number}/24", "dev", link)
            host.run(*inside, "address", "add", f"2001:db8:{number}::2/64", "dev", link, "nodad")
            host.run(*inside, "link", "set", "dev", link, "up")
        host.run(*inside, "route", "add", "default", "via", "192.0.2.7", "dev", "a")
        host.run(*inside, "-6", "route", "add", "default", "via", "2001:db8:1::1", "dev", "a")
        for name, harm in HARM.items():
            assert kept(harm) == "True 2", name
        assert host.run("ip", "netns", "exec", "c", "cat", "/proc/sys/net/ipv6/conf/b/accept_ra_defrtr").stdout == "0\n"
        assert kept("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6") == "False 1"
