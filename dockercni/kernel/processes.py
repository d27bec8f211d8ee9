"""Processes, as /proc shows them."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def start_time(pid: int) -> int | None:
    """When process `pid` began, in clock ticks since boot: with the pid, what names a process for ever.

    None if it has ended, even if nobody has reaped it yet (proc(5), /proc/pid/stat, fields 3 and 22).
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(b")")[2].split()  # the name before ")" may hold anything
    return None if fields[0] in {b"Z", b"X"} else int(fields[19])


def holding(path: Path) -> list[int]:
    """The processes, but ourselves, that have the file at `path` open."""
    wanted = path.stat()
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            if any(os.path.samestat(os.stat(fd.path), wanted) for fd in os.scandir(f"/proc/{entry.name}/fd")):
                found.append(int(entry.name))
        except OSError:  # ended meanwhile
            continue
    return found


def kill(pid: int) -> None:
    """SIGKILL. Already gone is success."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
