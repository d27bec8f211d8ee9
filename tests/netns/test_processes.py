"""Processes: who is who, and who holds a lock."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from dockercni.linux import processes

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import fcntl, sys
file = open(sys.argv[1])
if sys.argv[2] == "lock":
    fcntl.flock(file, fcntl.LOCK_EX)
print("ready", flush=True)
input()
"""


def start(path: Path, how: str) -> subprocess.Popen[str]:
    """A process that has the file open, locked or not, until its input ends."""
    argv = [sys.executable, "-c", HOLD, str(path), how]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def test_holding_tells_the_lock_from_the_file(tmp_path: Path) -> None:
    """Only who has locked the file counts, also by a descriptor that was inherited; not who just has it open."""
    path = tmp_path / "lock"
    path.touch()
    with start(path, "open") as waiter, start(path, "lock") as holder:
        assert processes.holding(path) == [holder.pid]
        holder.kill()
        holder.wait()
        assert processes.holding(path) == []
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert processes.holding(path) == []  # ourselves
            with subprocess.Popen(["sleep", "60"], pass_fds=[file.fileno()]) as heir:
                assert processes.holding(path) == [heir.pid]
                processes.kill(heir.pid)
        waiter.kill()


def test_start_time_names_a_process() -> None:
    """The start time stays the same while a process lives, and is None when it has ended, reaped or not."""
    mine = processes.start_time(os.getpid())
    assert mine is not None
    assert processes.start_time(os.getpid()) == mine
    with subprocess.Popen(["true"], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.read()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
        assert processes.start_time(process.pid) is None
    assert processes.start_time(process.pid) is None


def test_kill_what_is_gone() -> None:
    """Killing a process that is gone already is success."""
    process = subprocess.Popen(["true"])
    process.wait()
    processes.kill(process.pid)
