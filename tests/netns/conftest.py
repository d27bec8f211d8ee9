"""A private host without an engine: throw-away namespaces, with real plugins that run in them."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dockercni.cni import Cache, ExecRunner, NetworkList, Runtime, parse_list
from tests.hosts import Host, wipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLUGINS = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")


@pytest.fixture(scope="session")
def place() -> Iterator[Host]:
    """The private host."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with Host() as started:
        yield started


@pytest.fixture
def host(place: Host) -> Iterator[Host]:
    """The private host, wiped after each test."""
    yield place
    for line in place.run("ip", "netns", "list").stdout.splitlines():
        place.run("ip", "netns", "del", line.split()[0], check=False)
    place.run("/bin/sh", "-c", "iptables -F; iptables -t nat -F; iptables -X; iptables -t nat -X", check=False)
    wipe(place)


@pytest.fixture
def netns(host: Host) -> Callable[[str], str]:
    """Make a namespace of that name in the host; its path there."""

    def make(name: str) -> str:
        host.run("ip", "netns", "add", name)
        return f"/run/netns/{name}"

    return make


@pytest.fixture
def runtime(host: Host, tmp_path: Path) -> Runtime:
    """A runtime whose plugins are the real ones, each run inside the host by a script of its name."""
    assert host.holder
    directory = tmp_path / "plugins"
    directory.mkdir()
    found = {path.name: path for place in reversed(PLUGINS) if Path(place).is_dir() for path in Path(place).iterdir()}
    for name, path in found.items():
        script = directory / name
        script.write_text(f"#!/bin/sh\nexec {' '.join(host.entry)} {path}\n")
        script.chmod(0o755)
    return Runtime(ExecRunner([directory], 30), Cache(tmp_path / "cache"))


@pytest.fixture
def inside(host: Host) -> Callable[[str], str]:
    """Run Python inside the host, with this package; what it printed."""

    def run(code: str) -> str:
        package = importlib.util.find_spec("dockercni")
        assert package
        assert package.origin
        env = {"PYTHONPATH": str(Path(package.origin).parents[1])}
        return host.run(sys.executable, "-c", code, env=env).stdout

    return run


def network(*plugins: dict[str, Any], name: str = "net", version: str = "1.0.0") -> NetworkList:
    """A network of these plugins."""
    return parse_list(json.dumps({"cniVersion": version, "name": name, "plugins": plugins}).encode())


def links(host: Host, netns: str) -> dict[str, dict[str, Any]]:
    """The links of a namespace by name, as `ip -json address` shows them."""
    shown = json.loads(host.run("ip", "-netns", netns, "-json", "-details", "address").stdout)
    return {link["ifname"]: link for link in shown if link}


def addresses(host: Host, netns: str, ifname: str) -> list[str]:
    """The IPv4 addresses of a link of a namespace."""
    return [
        f"{info['local']}/{info['prefixlen']}"
        for info in links(host, netns)[ifname]["addr_info"]
        if info["family"] == "inet"
    ]
