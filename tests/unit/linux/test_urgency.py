"""Who asks for a processor at once gets what it may have."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dockercni.linux import urgency

ASK = "import os; from dockercni.linux import urgency; urgency.ask(); print(os.getpriority(os.PRIO_PROCESS, 0))"


def test_without_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where niceness may not be lowered it stays, and the rest is asked for with the one that it has."""
    asked: list[tuple[int, ...]] = []

    class Libc:
        @staticmethod
        def syscall(_number: object, _pid: int, attributes: bytes, _flags: int) -> int:
            asked.append(urgency._ATTRIBUTES.unpack(attributes))
            return -1

    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", "6.12", "1", "x86_64")))
    monkeypatch.setattr(urgency, "_libc", Libc)
    urgency.ask()
    assert [attributes[3] for attributes in asked] == [os.getpriority(os.PRIO_PROCESS, 0)]


def test_with_the_right() -> None:
    """Root's processes come first, and the system calls are refused by no kernel in a way that would end them."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    done = subprocess.run([sys.executable, "-c", ASK], check=True, capture_output=True, text=True)
    assert int(done.stdout) in {-20, os.getpriority(os.PRIO_PROCESS, 0)}
