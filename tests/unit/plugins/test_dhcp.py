"""The daemon of the dhcp plugin, seen from outside."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from dockercni.cni.errors import PluginError, PluginTimeout
from dockercni.linux import listeners
from dockercni.linux.netns import Namespace
from dockercni.plugins import dhcp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[str]:
    """A socket on which this process listens."""
    path = str(tmp_path / "dhcp.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        yield path


def test_which_daemon_is_asked() -> None:
    """Only where the IPAM plugin is dhcp, at its usual socket or another one; keys match in any case."""
    assert dhcp.socket_of({"ipam": {"type": "dhcp"}}) == "/run/cni/dhcp.sock"
    assert dhcp.socket_of({"IPAM": {"Type": "dhcp", "daemonsocketpath": "/x"}}) == "/x"
    assert [dhcp.socket_of(conf) for conf in ({}, {"ipam": None}, {"ipam": {"type": "host-local"}})] == ["", "", ""]


def test_a_listener_is_found(listener: str) -> None:
    """By path, through links too; a socket that nobody listens on any more does not count."""
    inodes = listeners.unix_sockets(listener)
    assert len(inodes) == 1
    link = f"{listener}.link"
    os.symlink(listener, link)
    assert listeners.unix_sockets(link) == inodes
    assert listeners.holders(inodes, "no such name") == [os.getpid()]
    assert listeners.unix_sockets(f"{listener}.other") == frozenset()


def test_renewals(listener: str) -> None:
    """A daemon renews where one of its threads is; one that is not there renews nothing."""
    with Namespace.open("/proc/self/ns/net") as here:
        assert dhcp.Renewals().renews(listener, here)
        assert not dhcp.Renewals().renews(f"{listener}.other", here)
    with Namespace.open(f"/proc/{os.getpid()}/ns/net") as here:
        renewals = dhcp.Renewals()
        assert renewals.runs(listener)
        assert not renewals.changed()
        assert renewals.renews(listener, here)


@pytest.mark.parametrize("hidden", ["holders", "thread_namespaces"])
def test_what_cannot_be_seen(listener: str, monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    """A daemon that we may not look into is believed to renew."""

    def refuse(*_: object) -> list[int]:
        if hidden == "thread_namespaces":
            raise PermissionError
        return []

    monkeypatch.setattr(listeners, hidden, refuse)
    with Namespace.open("/proc/self/ns/net") as here:
        assert dhcp.Renewals().renews(listener, here)


def test_a_daemon_that_comes_and_goes(tmp_path: Path) -> None:
    """That another one listens is seen once."""
    path = str(tmp_path / "dhcp.sock")
    renewals = dhcp.Renewals()
    assert not renewals.runs(path)
    assert not renewals.changed()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        assert renewals.changed()
        assert not renewals.changed()
    assert renewals.changed()
    assert not renewals.changed()


def test_explanations(listener: str) -> None:
    """A silent server is named by the link that leads there, a missing daemon by its socket; other reasons stand."""
    conf = {"type": "macvlan", "master": "eth7", "ipam": {"type": "dhcp", "daemonSocketPath": listener}}
    assert "no DHCP server serves eth7" in dhcp.explain(conf, PluginTimeout("macvlan", "ADD", 8))
    assert dhcp.explain(conf, PluginError("macvlan", "ADD", "no such link", code=999)) == ""
    conf["ipam"] = {"type": "dhcp", "daemonSocketPath": "/nowhere"}
    assert "nobody listens on /nowhere" in dhcp.explain(conf, PluginError("macvlan", "ADD", "dial", code=999))
