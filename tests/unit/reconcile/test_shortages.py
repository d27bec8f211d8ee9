"""What the machine has not got at this moment is told from what lasts, whichever part of the work it was for."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from dockercni.cni import Cache, CacheError, ChainError, invoke, parse_list
from dockercni.cni.errors import PluginShortage, is_shortage
from dockercni.linux import host_links, iptables
from dockercni.linux.host_links import RoutedLinks
from dockercni.linux.iptables import Filter, IptablesError
from dockercni.reconcile import forwarding
from dockercni.reconcile.forwarding import Forwarding
from dockercni.reconcile.history import History
from tests.unit.daemon.test_host_watch import entry

if TYPE_CHECKING:
    from pathlib import Path


def caused(error: Exception, number: int) -> Exception:
    """The error as it is when a system call said that."""
    error.__cause__ = OSError(number, "said by the kernel")
    return error


def test_whatever_was_made_of_it() -> None:
    """An error counts by what is at its bottom, and a chain of plugins by any of its failures."""
    for number in (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        assert is_shortage(OSError(number, ""))
        assert is_shortage(caused(CacheError("cannot write"), number))
        assert is_shortage(caused(IptablesError("cannot be started"), number))
    shortage = PluginShortage("bridge", "DEL", OSError(errno.EAGAIN, ""))
    assert is_shortage(ChainError("DEL", "net", [CacheError(""), shortage]))
    assert not is_shortage(ChainError("DEL", "net", [CacheError("")]))
    assert not is_shortage(caused(CacheError("cannot write"), errno.ENOSPC))
    assert not is_shortage(IptablesError("iptables ended with 4"))


@pytest.mark.parametrize(
    ("stdout", "stderr"),
    [
        (b"", "runtime/cgo: pthread_create failed: Resource temporarily unavailable"),
        (b"", "runtime: failed to create new OS thread (have 5 already; errno=11)"),
        (b'{"code": 999, "msg": "running iptables: fork/exec: resource temporarily unavailable"}', ""),
        (b'{"code": 7, "msg": "failed", "details": "open /proc/1/ns/net: too many open files"}', ""),
    ],
)
def test_executables_that_lack_something(stdout: bytes, stderr: str) -> None:
    """A limit on this program's cgroup is one on the executables that it starts, which say so in their own words."""
    error = invoke.failed("bridge", "ADD", 2, stdout, stderr)
    assert is_shortage(error)
    assert not error.permanent
    assert (stderr or "failed") in str(error) or "fork/exec" in str(error)
    assert not is_shortage(invoke.failed("bridge", "ADD", 1, b'{"code": 7, "msg": "no such bridge"}', ""))


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Forwarding, list[object]]:
    """Forwarding that runs no iptables, and what it says in its place, the last one first: errors, or a listing."""
    monkeypatch.setattr(host_links, "routed_links", lambda: RoutedLinks(frozenset(), frozenset()))
    monkeypatch.setattr(host_links, "routed", lambda _: True)
    monkeypatch.setattr(iptables, "filters", lambda version: [Filter(version, "iptables")])
    monkeypatch.setattr(forwarding.forward, "_LOCK", tmp_path / "forward.lock")
    said: list[object] = []

    def run(*_: object) -> str:
        answer = said.pop() if said else ""
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(iptables, "_run", run)
    return Forwarding(Cache(tmp_path), History(tmp_path / "containers"), isolate=True), said


def test_forwarding_that_cannot_be_looked_at(tables: tuple[Forwarding, list[object]]) -> None:
    """Where iptables cannot be started now, nothing passes for open; a table that is broken keeps nobody waiting."""
    tried, said = tables
    said += [IptablesError("iptables ended with 1: table is incompatible")] * 2
    said += [caused(IptablesError("iptables"), errno.EAGAIN)] * 2
    for _ in range(2):
        with pytest.raises(IptablesError):
            tried.open(entry("c1", "veth1"))
    tried.open(entry("c1", "veth1"))
    assert not said


def test_forwarding_that_somebody_changed(tables: tuple[Forwarding, list[object]]) -> None:
    """What is open is not looked at for each container, until another process says that it changed such rules."""
    tried, said = tables
    network = parse_list(entry("c1", "veth1").config)
    with tried.during_add(network):
        said += ["once"]
        with tried.during_add(network):
            assert said
        with forwarding.forward.changing() as change:
            change.done()
        with tried.during_add(network):
            assert not said
