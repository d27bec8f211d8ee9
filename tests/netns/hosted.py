"""Real plugins through the runtime, in a private host: the runtime in this process, what it executes in the host."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dockercni.cni import Cache, CNIError, ExecRunner, NetworkList, Result, Runtime, RuntimeConf, parse_list
from tests.hosts import Host

USUAL = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")


def plugin_directory() -> Path:
    """Where the reference plugins are installed."""
    return next(Path(path) for path in USUAL if (Path(path) / "bridge").exists())


class Hosted:
    """A runtime whose plugins run in a private host, and namespaces there to attach."""

    def __init__(self, host: Host, directory: Path) -> None:
        self.host = host
        self.plugins = plugin_directory()
        self.cache = Cache(directory / "cache")
        wrappers = directory / "bin"
        wrappers.mkdir()
        for plugin in self.plugins.iterdir():
            # the plugin finds the others (IPAM) where they really are
            words = [*host.entry, "env", f"CNI_PATH={self.plugins}", str(plugin)]
            (wrappers / plugin.name).write_text(f"#!/bin/sh\nexec {shlex.join(words)}\n")
            (wrappers / plugin.name).chmod(0o755)
        self.runner = ExecRunner([wrappers], 60)
        self.runtime = Runtime(self.runner, self.cache)

    def namespace(self, name: str) -> str:
        """Make a network namespace in the host; its path there."""
        self.host.run("ip", "netns", "add", name)
        return f"/run/netns/{name}"

    def reset(self) -> None:
        """Forget namespaces, rules, leases and records, whatever a test has left."""
        for pin in list(self.host.path("/run/netns").glob("*")):
            self.host.run("ip", "netns", "del", pin.name)
        self.host.run("ip", "link", "del", "br-test", check=False)
        for table in ("nat", "filter"):
            for flag in ("-F", "-X"):
                self.host.run("iptables", "-t", table, flag)
        self.forget_leases()
        shutil.rmtree(self.cache.directory, ignore_errors=True)

    def forget_leases(self) -> None:
        """Let host-local begin with the first address again."""
        shutil.rmtree(self.host.path("/var/lib/cni/networks"), ignore_errors=True)

    def inside(self, name: str, *argv: str) -> str:
        """What a command prints in a namespace of the host."""
        return self.host.run("ip", "netns", "exec", name, *argv).stdout

    def addresses(self, name: str, ifname: str) -> set[str]:
        """The global addresses of an interface in a namespace of the host."""
        shown = json.loads(self.inside(name, "ip", "-json", "addr", "show", "dev", ifname))
        infos = [info for link in shown for info in link.get("addr_info", [])]
        return {f"{info['local']}/{info['prefixlen']}" for info in infos if info["scope"] == "global"}

    def links(self, name: str = "") -> set[str]:
        """The names of the links in a namespace of the host, or in the host itself."""
        command = ("ip", "-json", "link")
        shown = self.inside(name, *command) if name else self.host.run(*command).stdout
        return {link["ifname"] for link in json.loads(shown)}

    def leases(self) -> list[str]:
        """The addresses that host-local has given."""
        found = self.host.path("/var/lib/cni/networks").glob("*/*")
        return sorted(path.name for path in found if path.name != "lock" and not path.name.startswith("last_"))

    def rules(self) -> str:
        """The iptables rules, without what the firewall and portmap plugins share among all containers."""
        saved = [self.host.run(f"{command}-save").stdout for command in ("iptables", "ip6tables")]
        lines = "\n".join(saved).splitlines()
        shared = ("CNI-FORWARD", "CNI-ADMIN", "CNI-HOSTPORT-")
        return "\n".join(line for line in lines if line.startswith("-A") and not any(word in line for word in shared))

    def add(self, network: NetworkList, conf: RuntimeConf) -> Result:
        """ADD; a failure shows its notes."""
        try:
            return self.runtime.add(network, conf).attached
        except CNIError as error:
            raise AssertionError("\n".join([str(error), *getattr(error, "__notes__", ())])) from error


def network(version: str, *plugins: dict[str, Any], name: str = "net") -> NetworkList:
    """A network of plugins in a version."""
    return parse_list(json.dumps({"cniVersion": version, "name": name, "plugins": plugins}).encode())


def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """A private host without an engine, and a runtime over it."""
    with Host() as host:
        yield Hosted(host, tmp_path_factory.mktemp("hosted"))
