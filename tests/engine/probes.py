"""Containers whose program, a static binary, prints their addresses as its first act; and networks to be slow on."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tests.hosts import IMAGE
from tests.hosts.programs import PLUGINS

if TYPE_CHECKING:
    from tests.hosts import Host

BIN_DIR = f"--cni-bin-dir={PLUGINS}:/opt/cni/bin:/usr/lib/cni:/usr/libexec/cni"
PROBE = ("ip", "-o", "addr", "show", "eth0")
ROUTES = ("ip", "-o", "route")


def sees_address(host: Host, *flags: str) -> bool:
    """Run a container; whether its program found an address at its first instruction."""
    return "inet " in _said(host, *flags, IMAGE, *PROBE)


def sees_route(host: Host, *flags: str) -> bool:
    """Run a container; whether its program found the default route at its first instruction."""
    return "default via " in _said(host, *flags, IMAGE, *ROUTES)


def _said(host: Host, *arguments: str) -> str:
    done = host.run("docker", "run", "--rm", "--network=none", *arguments, check=False, timeout=110)
    if done.returncode:  # the engine may have had a reason of its own, which a failed test has to show
        print(done.stderr)  # noqa: T201
    return done.stdout


def share(host: Host, count: int, *flags: str, together: bool = False) -> int:
    """How many of so many containers, one by one or all together, find what they look for at their first instruction.

    Every other one looks for its address, the others for their default route.
    """
    with ThreadPoolExecutor(count if together else 1) as pool:
        return sum(pool.map(lambda number: (sees_address, sees_route)[number % 2](host, *flags), range(count)))


def configure(host: Host, name: str = "net", subnets: tuple[str, ...] = ("10.9.0.0/16",), **noop: Any) -> None:
    """Write a network with a bridge, after a plugin that does for each verb what `noop` says."""
    ranges = [[{"subnet": subnet}] for subnet in subnets]
    routes = [{"dst": "::/0" if ":" in subnet else "0.0.0.0/0"} for subnet in subnets]
    ipam = {"type": "host-local", "ranges": ranges, "routes": routes}
    bridge = {"type": "bridge", "bridge": f"{name}0", "isGateway": True, "ipam": ipam}
    plugins = [{"type": "noop", "noop": noop}, bridge]
    conf = {"cniVersion": "1.0.0", "name": name, "plugins": plugins}
    host.write(f"/etc/cni/net.d/10-{name}.conflist", json.dumps(conf))
