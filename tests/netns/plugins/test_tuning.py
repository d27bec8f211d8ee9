"""tuning in a throw-away namespace: what the installed reference cannot be compared in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dockercni.cni import PluginError
from dockercni.plugins import sysctls
from tests.unit.plugins.asking import ask

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hosts import Host

PREVIOUS = {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:09", "mtu": 9, "future": 1}]}


@pytest.fixture
def netns(host: Host) -> str:
    """A namespace, seen from here, with an interface eth0."""
    host.run("ip", "link", "add", "eth0", "txqueuelen", "400", "type", "veth", "peer", "name", "far")
    assert host.holder
    return f"/proc/{host.holder.pid}/ns/net"


@pytest.fixture
def conf(tmp_path: Path) -> dict[str, Any]:
    """A tuning plugin behind another one, with backups in a directory of the test."""
    directory = str(tmp_path / "tuning")
    return {"cniVersion": "1.1.0", "name": "net", "type": "tuning", "prevResult": PREVIOUS, "dataDir": directory}


def queue(host: Host) -> int:
    """The queue of eth0."""
    found: int = json.loads(host.run("ip", "-j", "link", "show", "eth0").stdout)[0]["txqlen"]
    return found


def test_queue(host: Host, netns: str, conf: dict[str, Any], tmp_path: Path) -> None:
    """txQLen is set, checked, and restored from a backup that holds nothing else."""
    ask("ADD", {**conf, "txQLen": 700}, NETNS=netns)
    assert queue(host) == 700
    assert (tmp_path / "tuning/c1_eth0.json").read_text() == '{\n "txQLen": 400\n}'
    ask("CHECK", {**conf, "txQLen": 700}, NETNS=netns)
    with pytest.raises(PluginError, match="Transmit Queue Length of eth0 is 0, current value is 700"):
        ask("CHECK", {**conf, "txQLen": 0}, NETNS=netns)
    ask("ADD", {**conf, "txQLen": 3, "args": {"cni": {"txQLen": 4}}}, "c2", NETNS=netns)
    assert queue(host) == 4
    ask("DEL", {**conf, "txQLen": 700}, NETNS=netns)
    assert queue(host) == 400
    assert not (tmp_path / "tuning/c1_eth0.json").exists()


def test_result(netns: str, conf: dict[str, Any]) -> None:
    """Without a MAC prevResult is passed on with what we do not know in it; with one, only that is changed."""
    assert ask("ADD", {**conf, "mtu": 1300}, NETNS=netns) == PREVIOUS
    result = ask("ADD", {**conf, "mac": "02:00:00:00:00:0a"}, NETNS=netns)
    assert result["interfaces"] == [{"name": "eth0", "mac": "02:00:00:00:00:0a", "mtu": 9}]


def test_nothing_is_done_by_halves(host: Host, netns: str, conf: dict[str, Any]) -> None:
    """A bad key or MAC is noticed before the first change."""
    good = {"net.core.somaxconn": "77"}
    for bad in (
        {"sysctl": {**good, "kernel.x": "1"}},
        {"sysctl": good, "mac": "x"},
        {"sysctl": good, "prevResult": None},
    ):
        with pytest.raises(PluginError):
            ask("ADD", {**conf, **bad}, NETNS=netns)
    with pytest.raises(PluginError, match='failed to get "eth1": Link not found'):
        ask("ADD", {**conf, "sysctl": good, "mtu": 1300}, "c1", "eth1", NETNS=netns)
    assert host.run("cat", "/proc/sys/net/core/somaxconn").stdout != "77\n"


def test_allowlist(
    host: Host, netns: str, conf: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ADD sets only what the allowlist allows."""
    allowlist = tmp_path / "allowlist.conf"
    allowlist.write_text("^net.core.so")
    monkeypatch.setattr(sysctls.check_allowed, "__defaults__", (allowlist,))
    ask("ADD", {**conf, "sysctl": {"net.core.somaxconn": "77"}}, NETNS=netns)
    with pytest.raises(PluginError, match=r"Sysctl net.ipv4.ip_forward is not allowed"):
        ask("ADD", {**conf, "sysctl": {"net.ipv4.ip_forward": "1"}}, NETNS=netns)
    assert host.run("cat", "/proc/sys/net/core/somaxconn").stdout == "77\n"


def test_backup_of_nothing(netns: str, conf: dict[str, Any], tmp_path: Path) -> None:
    """A DEL forgets the backup of an interface or a namespace that is gone, and of broken ones leaves the file."""
    file = tmp_path / "tuning/c1_eth0.json"
    for container_netns, ifname in ((netns, "eth1"), ("/nowhere", "eth0"), ("", "eth0")):
        backup = file.with_name(f"c1_{ifname}.json")
        ask("ADD", {**conf, "mtu": 1300}, NETNS=netns)
        if ifname == "eth1":
            file.rename(backup)
        ask("DEL", {**conf, "mtu": 1300}, "c1", ifname, NETNS=container_netns)
        assert not backup.exists()
    file.write_text("nonsense")
    ask("DEL", {**conf, "mtu": 1300}, NETNS=netns)
    assert file.exists()


def test_restoring_goes_as_far_as_it_can(host: Host, netns: str, conf: dict[str, Any], tmp_path: Path) -> None:
    """What the kernel refuses to restore is no error of DEL, does not keep it from the rest, and keeps the backup."""
    ask("ADD", {**conf, "mtu": 1300}, NETNS=netns)
    file = tmp_path / "tuning/c1_eth0.json"
    file.write_text('{"mtu": 1, "txQLen": 123}')
    ask("DEL", {**conf, "mtu": 1300}, NETNS=netns)
    assert queue(host) == 123
    assert file.exists()
