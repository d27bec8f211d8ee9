"""What a container had last."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockercni.reconcile import state
from dockercni.reconcile.history import History, PastAttachment, last_on

ETH0 = PastAttachment("lan", "eth0", ("10.0.0.5/24",), "boot", "7")
ETH1 = PastAttachment("san", "eth1", ("10.1.0.5/24", "fd00::5/64"), "boot", "7")


def test_remembered(tmp_path: Path) -> None:
    """What is remembered is recalled, an interface's latest state only, until the container is forgotten."""
    history = History(tmp_path)
    for past in (ETH0, ETH1, PastAttachment("lan", "eth0", ("10.0.0.6/24",), "boot", "8")):
        history.remember("web", past)
    assert history.recall("web") == (ETH1, PastAttachment("lan", "eth0", ("10.0.0.6/24",), "boot", "8"))
    assert list(history.known()) == ["web"]
    history.forget("web")
    assert history.recall("web") == ()
    assert list(history.known()) == []


def test_left(tmp_path: Path) -> None:
    """A detached interface keeps its addresses in memory, and no longer counts as attached."""
    history = History(tmp_path)
    history.remember("web", ETH0)
    history.left("web", "lan", "eth0")
    [past] = history.recall("web")
    assert not past.attached
    assert last_on([past], "lan", "eth0") == past
    assert last_on([past], "lan", "eth1") is None


def test_lost(tmp_path: Path) -> None:
    """A record is lost where an attachment is remembered that has none; what cannot be read may be such a case."""
    history = History(tmp_path)
    history.remember("web", ETH0)
    history.remember("web", ETH1)
    history.remember("db", ETH0)
    history.left("db", "lan", "eth0")
    (tmp_path / "new.json").write_bytes(b'{"schema":99,"value":{}}')
    assert set(history.lost({("lan", "web", "eth0")})) == {"web", "new"}
    assert set(history.lost({("lan", "web", "eth0"), ("san", "web", "eth1")})) == {"new"}


@pytest.mark.parametrize("damage", [b"", b"{", b'{"schema":1}', b'{"schema":1,"value":[{"network":1}]}', b"\xff"])
def test_damaged(tmp_path: Path, damage: bytes) -> None:
    """A damaged memory costs the container its old address, not its network."""
    history = History(tmp_path)
    (tmp_path / "web.json").write_bytes(damage)
    assert history.recall("web") == ()
    history.remember("web", ETH0)
    assert history.recall("web") == (ETH0,)


def test_newer(tmp_path: Path) -> None:
    """A memory that a newer version wrote is refused, and left as it is."""
    (tmp_path / "web.json").write_bytes(b'{"schema":99,"value":{}}')
    with pytest.raises(state.StateError, match=r"web.json was written by a newer version"):
        History(tmp_path).recall("web")


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written is not remembered; rather there is no memory at all than one of what is gone."""
    history = History(tmp_path)
    history.remember("web", ETH0)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state, "replace_file", full)
    history.remember("db", ETH0)
    assert history.recall("db") == ()
    history.left("web", "lan", "eth0")
    assert history.recall("web") == ()
