"""Processes, as /proc shows them."""

from __future__ import annotations

import ctypes
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_M_ARENA_MAX: Final = -8
_OFD: Final = re.compile(r"OFDLCK .* (\d+) (\d+|EOF)$", re.MULTILINE)
_WIDTH: Final = 80

_libc = ctypes.CDLL(None)


def few_arenas() -> None:
    """Have this process's threads share two arenas of malloc (mallopt(3)), because each arena keeps freed memory.

    Does nothing with a C library without arenas.
    """
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_ARENA_MAX, 2)


def ids() -> Iterator[int]:
    """The ids of the processes that are seen from here; each may have ended by now."""
    return (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal())


def start_time(pid: int) -> int | None:
    """When process `pid` began, in clock ticks since boot; together with the pid it names a process uniquely.

    None if it has ended, even if it is not reaped yet (proc(5), /proc/pid/stat, fields 3 and 22).
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # Docker 20.10 takes a killed containerd for a running one as long as nobody has reaped it; its state tells
    fields = stat.rpartition(b")")[2].split()  # the name before ")" may hold anything
    return None if fields[0] in {b"Z", b"X"} else int(fields[19])


def holding(path: Path) -> list[int]:
    """The other processes that have the file at `path` open and locked by flock.

    Having it open is not enough: a process that tries to lock it has it open for a moment as well.
    """
    wanted = path.lstat()
    found = []
    for pid in ids():
        if pid == os.getpid():
            continue
        try:
            descriptors = [
                fd.name for fd in os.scandir(f"/proc/{pid}/fd") if os.path.samestat(os.stat(fd.path), wanted)
            ]
            if any("FLOCK" in Path(f"/proc/{pid}/fdinfo/{fd}").read_text(encoding="ascii") for fd in descriptors):
                found.append(pid)
        except OSError:  # ended meanwhile
            continue
    return found


def locking(path: Path, first: int, last: int) -> int:
    """A process, maybe this one, with a lock on any byte from `first` to `last` of a file; 0 if none is seen.

    Locks of an open file description name no process, but fdinfo of those who have it open shows them (proc(5)).
    """
    wanted = path.stat()
    for pid in ids():
        try:
            for fd in os.scandir(f"/proc/{pid}/fd"):
                if os.path.samestat(os.stat(fd.path), wanted):
                    held = _OFD.findall(Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text(encoding="ascii"))
                    if any(int(begin) <= last and (end == "EOF" or int(end) >= first) for begin, end in held):
                        return pid
        except OSError:  # ended meanwhile
            continue
    return 0


def command(pid: int) -> tuple[str, ...]:
    """The command line of a process; empty if it has ended."""
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple(text.rstrip("\0").split("\0")) if text else ()


def command_line(pid: int) -> str:
    """The command line as text, cut to 80 characters."""
    return " ".join(command(pid))[:_WIDTH]


def of_container(pid: int, container_id: str) -> bool:
    """Whether a process belongs to that container, by its cgroup's name, and not to one that joined its namespace."""
    try:
        return container_id in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:  # ended meanwhile
        return False


def kill(pid: int) -> None:
    """SIGKILL. Already gone is success."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
