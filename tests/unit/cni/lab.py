"""Where the runtime is tried: plugins that record their calls, as executables or as a fake in the process."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dockercni.cni import (
    Cache,
    ExecRunner,
    NetworkList,
    PluginCall,
    PluginConf,
    Runtime,
    RuntimeConf,
    invoke,
    parse_list,
)
from tests.hosts.programs import PLUGINS

NOOP = PLUGINS / "noop"
VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
ID = "c" * 12
NETNS = "/run/netns/some"


def network(*plugins: str | dict[str, Any], version: str = "1.1.0", **keys: Any) -> NetworkList:
    """A network of plugins, given by type or whole."""
    listed = [{"type": plugin} if isinstance(plugin, str) else plugin for plugin in plugins]
    return parse_list(json.dumps({"name": "net", "cniVersion": version, **keys, "plugins": listed}).encode())


def attachment(**changes: Any) -> RuntimeConf:
    """The attachment of the tests."""
    return RuntimeConf(**{"container_id": ID, "netns": NETNS, "ifname": "eth0", **changes})


def result(version: str = "1.1.0", address: str = "192.0.2.2/24", **keys: Any) -> dict[str, Any]:
    """A result of one IPv4 address in the shape of a version."""
    if version in ("0.1.0", "0.2.0"):
        return {"cniVersion": version, "ip4": {"ip": address}, "dns": {}, **keys}
    ip = {"address": address} if version.startswith("1.") else {"version": "4", "address": address}
    return {"cniVersion": version, "ips": [ip], **keys}


@dataclass(frozen=True)
class Call:
    """What a plugin was told."""

    plugin: str
    verb: str
    stdin: dict[str, Any]
    env: dict[str, str]

    @property
    def what(self) -> tuple[str, str]:
        """Which plugin did what."""
        return self.plugin, self.verb


@dataclass
class FakeRunner:
    """Serves plugins without executing anything, and records the calls.

    `answers` holds, for (plugin, verb), the bytes to print, the document, or the error to raise.
    """

    answers: dict[tuple[str, str], Any] = field(default_factory=dict)
    engines: dict[str, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    served_by: list[str] = field(default_factory=list)
    path: str = "/plugins"

    def choose(self, network: NetworkList, plugin: PluginConf) -> str:
        """The engine of a plugin, or the error that there is none."""
        answer = self.answers.get((plugin.type, "choose"))
        if isinstance(answer, Exception):
            raise answer
        return self.engines.get(plugin.type, "fake")

    def run(self, call: PluginCall) -> Any:
        """The answer of the table, else a valid result."""
        stdin = json.loads(json.dumps(call.config))
        self.calls.append(Call(call.plugin, call.verb, stdin, dict(call.environment)))
        self.served_by.append(call.backend)
        answer = self.answers.get((call.plugin, call.verb))
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, bytes):
            return invoke.answer(call, answer)
        default = {**stdin.get("prevResult", result(stdin["cniVersion"]))} if call.verb == "ADD" else None
        return default if answer is None else answer

    @property
    def order(self) -> list[tuple[str, str]]:
        """Which plugin did what, in order."""
        return [call.what for call in self.calls]


class Lab:
    """A runtime over the recording executable, under several names, and the directories that it may write to."""

    def __init__(self, directory: Path, timeout: float = 20.0) -> None:
        self.directory = directory
        self.record = directory / "calls"
        self.bin = directory / "bin"
        self.bin.mkdir()
        self.cache = Cache(directory / "cache")
        self.runner = ExecRunner([self.bin], timeout)
        self.runtime = Runtime(self.runner, self.cache)

    def plugin(self, name: str, **keys: Any) -> dict[str, Any]:
        """Install the recording executable as `name`; its object for a network."""
        if not (self.bin / name).exists():
            (self.bin / name).symlink_to(NOOP)
        return {"type": name, "record": str(self.record), **keys}

    @property
    def calls(self) -> list[Call]:
        """What was executed so far."""
        if not self.record.exists():
            return []
        lines = [json.loads(line) for line in self.record.read_text().splitlines()]
        return [Call(line["stdin"].get("type", ""), line["verb"], line["stdin"], line["env"]) for line in lines]

    @property
    def order(self) -> list[tuple[str, str]]:
        """Which plugin did what, in order."""
        return [call.what for call in self.calls]

    @property
    def cached(self) -> list[str]:
        """The files of the cache."""
        return sorted(path.name for path in self.cache.directory.glob("results/*"))
