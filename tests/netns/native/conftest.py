"""A private host of its own for each test, and a world outside of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.differential.score import seam
from tests.hosts import Host, Outside, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]


class Attached:
    """A private host in which networks are added and deleted, each verb by a process of its own."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def container(self, name: str) -> Place:
        """Make a namespace, and give it as a place."""
        self.host.run("ip", "netns", "add", name)
        self.host.run("ip", "-n", name, "link", "set", "lo", "up")
        return self.container_of(name)

    def container_of(self, name: str) -> Place:
        """That namespace again."""
        place = Place((*self.host.entry, "nsenter", f"--net=/run/netns/{name}", "--"), self.host.env, self.host.logs)
        place.background = self.host.background
        return place

    def run(
        self,
        verb: str,
        network: dict[str, Any],
        container: str = "c1",
        *,
        ifname: str = "eth0",
        netns: str | None = None,
        ports: list[dict[str, Any]] | None = None,
        backend: str = "builtin",
        steps: int | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """One verb; `steps` as in the worker."""
        path = f"/run/netns/{container}" if netns is None else netns
        capabilities = json.dumps({"portMappings": ports} if ports else {})
        more = [] if steps is None else [str(steps)]
        argv = [backend, verb, json.dumps(network), container, ifname, path, capabilities, *more]
        command = [sys.executable, "-m", "tests.netns.worker", *argv]
        return self.host.run(*command, check=check, env={"PYTHONPATH": str(ROOT), **seam.environment()})

    def add(self, network: dict[str, Any], container: str = "c1", **more: Any) -> Any:
        """ADD, and the result."""
        return json.loads(self.run("ADD", network, container, **more).stdout)

    def left(self) -> dict[str, str]:
        """What attachments leave behind if they are not taken back: links, leases, elements, rules, cache entries."""
        links = self.host.run("ip", "-o", "link", "show", "type", "veth").stdout
        leases = self.host.run(
            "sh", "-c", "ls /var/lib/cni/networks/*/*.* /var/lib/cni/networks/*/*:* 2>/dev/null || :"
        )
        rules = self.host.run("sh", "-c", "nft list ruleset | grep comment || :").stdout
        cache = self.host.run("sh", "-c", "ls -A /var/lib/cni/results 2>/dev/null || :").stdout
        kept = [line for line in leases.stdout.splitlines() if "last_reserved_ip" not in line]
        return {
            "links": "".join(line for line in links.splitlines(keepends=True) if "out0" not in line),
            "leases": "\n".join(kept),
            "rules": "".join(line for line in rules.splitlines(keepends=True) if "dockercni:" not in line),
            "cache": cache,
        }

    def elements(self) -> str:
        """The elements of our table, as nft lists them."""
        return self.host.run("sh", "-c", "nft list table inet dockercni | grep -B3 comment || :").stdout


@pytest.fixture
def attached() -> Iterator[Attached]:
    """A private host to attach in."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with Host() as host:
        yield Attached(host)


@pytest.fixture
def outside(attached: Attached) -> Iterator[Outside]:
    """Another machine on the host's uplink."""
    world = Outside(attached.host)
    yield world
    world.close()


def chain(*plugins: dict[str, Any], name: str = "net", version: str = "1.0.0", **bridge: Any) -> dict[str, Any]:
    """A network: bridge with masquerade (and what is given for it), then `plugins`."""
    main = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]},
        **bridge,
    }
    return {"cniVersion": version, "name": name, "plugins": [main, *plugins]}


PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}
FIREWALL = {"type": "firewall"}
DUAL = {
    "type": "host-local",
    "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
}
