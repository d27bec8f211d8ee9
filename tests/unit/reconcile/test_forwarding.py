"""FORWARD, where the rules cannot be read or changed for a moment."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from dockercni.cni import Cache
from dockercni.linux import forward, host_links
from dockercni.linux.host_links import RoutedLinks
from dockercni.linux.iptables import IptablesError
from dockercni.reconcile import forwarding as module
from dockercni.reconcile.forwarding import Forwarding
from dockercni.reconcile.history import History

if TYPE_CHECKING:
    from pathlib import Path


def test_a_failure_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules that could not be changed count as unsettled until they could: a DEL that succeeded is not run again."""
    forwarding = Forwarding(Cache(tmp_path / "cache"), History(tmp_path / "history"), isolate=True)
    monkeypatch.setattr(forward, "_LOCK", tmp_path / "lock")
    monkeypatch.setattr(module.iptables, "filters", lambda _: [])

    def refuse() -> RoutedLinks:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(host_links, "routed_links", refuse)
    with pytest.raises(IptablesError):
        forwarding.settle()
    assert forwarding.unsettled
    monkeypatch.setattr(host_links, "routed_links", lambda: RoutedLinks(frozenset(), frozenset()))
    forwarding.settle()
    assert not forwarding.unsettled
