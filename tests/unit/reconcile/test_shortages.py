"""What the machine has not got at this moment is told from what lasts, whichever part of the work it was for."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from dockercni.cni import Cache, CacheError, ChainError
from dockercni.cni.errors import PluginShortage, is_shortage
from dockercni.kernel import iptables, links
from dockercni.kernel.iptables import Filter, IptablesError
from dockercni.kernel.links import Surroundings
from dockercni.reconcile import forwarding
from dockercni.reconcile.forwarding import Forwarding
from dockercni.reconcile.memory import Memory
from tests.unit.reconcile.test_host_watch import entry

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


def test_forwarding_that_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where iptables cannot be started now, nothing passes for open; a table that is broken keeps nobody waiting."""
    monkeypatch.setattr(links, "surroundings", lambda: Surroundings(frozenset(), frozenset()))
    monkeypatch.setattr(links, "routed", lambda _: True)
    monkeypatch.setattr(iptables, "filters", lambda version: [Filter(version, "iptables")])
    monkeypatch.setattr(forwarding.forward, "_LOCK", tmp_path / "forward.lock")
    problems: list[Exception] = [caused(IptablesError("iptables"), errno.EAGAIN)] * 2

    def run(*_: object) -> str:
        if problems:
            raise problems.pop()
        raise IptablesError("iptables ended with 1: table is incompatible")

    monkeypatch.setattr(iptables, "_run", run)
    tried = Forwarding(Cache(tmp_path), Memory(tmp_path / "containers"), isolate=True)
    for _ in range(2):
        with pytest.raises(IptablesError):
            tried.open(entry("c1", "veth1"))
    tried.open(entry("c1", "veth1"))
