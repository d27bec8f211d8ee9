"""Settings below /proc/sys/net: written by one thread at a time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dockercni.linux import sysctl
from dockercni.plugins import tuning

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_by_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes a setting has the one turn: all who tried at once would leave the processor to nobody else."""
    conf = tmp_path / "net" / "ipv6" / "conf" / "eth0"
    conf.mkdir(parents=True)
    (tmp_path / "net" / "ipv4" / "conf").mkdir(parents=True)
    (conf / "forwarding").write_text("0")
    monkeypatch.setattr(sysctl, "ROOT", str(tmp_path))
    turns = []
    write = os.write

    def watched(fd: int, data: bytes) -> int:
        turns.append(sysctl.turn.locked())
        return write(fd, data)

    monkeypatch.setattr(os, "write", watched)
    sysctl.write("net/ipv6/conf/eth0/forwarding", "1")
    settings = sysctl.LinkSysctls()
    settings.write("ipv6/conf/eth0/forwarding", "2")
    settings.close()
    tuning._write({str(conf / "forwarding"): "3"})
    assert turns == [True] * 3
    assert not sysctl.turn.locked()
    assert (conf / "forwarding").read_text() == "3"
