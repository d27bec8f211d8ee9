"""Another runtime on the same host: it runs our executables, and records what it did where we do not look."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from tests.engine.daemons import environment

if TYPE_CHECKING:
    from tests.hosts import Host


class Neighbour:
    """Attaches a namespace of its own to a network by the executables of dockercni, as containerd would."""

    def __init__(self, host: Host, network: dict[str, Any], name: str) -> None:
        self._host = host
        self._network = network
        self.name = name
        self.result: dict[str, Any] | None = None
        host.run("ip", "netns", "add", name)

    def add(self, ports: list[dict[str, Any]]) -> None:
        """ADD through the whole chain."""
        for plugin in self._network["plugins"]:
            self.result = json.loads(self._run("ADD", plugin, ports))

    def delete(self, ports: list[dict[str, Any]]) -> None:
        """DEL, and the namespace goes, too."""
        for plugin in reversed(self._network["plugins"]):
            self._run("DEL", plugin, ports)
        self._host.run("ip", "netns", "delete", self.name)

    def _run(self, verb: str, plugin: dict[str, Any], ports: list[dict[str, Any]]) -> str:
        runtime = {"runtimeConfig": {"portMappings": ports}} if plugin["type"] == "portmap" else {}
        previous = {"prevResult": self.result} if self.result else {}
        conf = {
            **plugin,
            "name": self._network["name"],
            "cniVersion": self._network["cniVersion"],
            **runtime,
            **previous,
        }
        env = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": self.name,
            "CNI_NETNS": f"/run/netns/{self.name}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/usr/lib/cni",
            **environment(),
        }
        command = [sys.executable, "-m", "dockercni", "plugin", plugin["type"]]
        return self._host.run(*command, input=json.dumps(conf), env=env).stdout
