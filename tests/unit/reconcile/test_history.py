"""What a container had last."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockercni.reconcile import state
from dockercni.reconcile.history import Had, Memory, last_on

ETH0 = Had("lan", "eth0", ("10.0.0.5/24",), "boot", "7")
ETH1 = Had("san", "eth1", ("10.1.0.5/24", "fd00::5/64"), "boot", "7")


def test_remembered(tmp_path: Path) -> None:
    """What is remembered is recalled, an interface's latest state only, until the container is forgotten."""
    memory = Memory(tmp_path)
    for had in (ETH0, ETH1, Had("lan", "eth0", ("10.0.0.6/24",), "boot", "8")):
        memory.remember("web", had)
    assert memory.recall("web") == (ETH1, Had("lan", "eth0", ("10.0.0.6/24",), "boot", "8"))
    assert list(memory.known()) == ["web"]
    memory.forget("web")
    assert memory.recall("web") == ()
    assert list(memory.known()) == []


def test_left(tmp_path: Path) -> None:
    """A detached interface keeps its addresses in memory, and no longer counts as attached."""
    memory = Memory(tmp_path)
    memory.remember("web", ETH0)
    memory.left("web", "lan", "eth0")
    [had] = memory.recall("web")
    assert not had.attached
    assert last_on([had], "lan", "eth0") == had
    assert last_on([had], "lan", "eth1") is None


def test_lost(tmp_path: Path) -> None:
    """A record is lost where an attachment is remembered that has none; what cannot be read may be such a case."""
    memory = Memory(tmp_path)
    memory.remember("web", ETH0)
    memory.remember("web", ETH1)
    memory.remember("db", ETH0)
    memory.left("db", "lan", "eth0")
    (tmp_path / "new.json").write_bytes(b'{"schema":99,"value":{}}')
    assert set(memory.lost({("lan", "web", "eth0")})) == {"web", "new"}
    assert set(memory.lost({("lan", "web", "eth0"), ("san", "web", "eth1")})) == {"new"}


@pytest.mark.parametrize("damage", [b"", b"{", b'{"schema":1}', b'{"schema":1,"value":[{"network":1}]}', b"\xff"])
def test_damaged(tmp_path: Path, damage: bytes) -> None:
    """A damaged memory costs the container its old address, not its network."""
    memory = Memory(tmp_path)
    (tmp_path / "web.json").write_bytes(damage)
    assert memory.recall("web") == ()
    memory.remember("web", ETH0)
    assert memory.recall("web") == (ETH0,)


def test_newer(tmp_path: Path) -> None:
    """A memory that a newer version wrote is refused, and left as it is."""
    (tmp_path / "web.json").write_bytes(b'{"schema":99,"value":{}}')
    with pytest.raises(state.StateError, match=r"web.json was written by a newer version"):
        Memory(tmp_path).recall("web")


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written is not remembered; rather there is no memory at all than one of what is gone."""
    memory = Memory(tmp_path)
    memory.remember("web", ETH0)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state, "replace_file", full)
    memory.remember("db", ETH0)
    assert memory.recall("db") == ()
    memory.left("web", "lan", "eth0")
    assert memory.recall("web") == ()
