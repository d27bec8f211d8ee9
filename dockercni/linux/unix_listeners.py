"""Who listens on a Unix socket, and in which network namespaces its threads are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LISTENING: Final = 0x10000  # __SO_ACCEPTCON of the flags in /proc/net/unix
_TABLE: Final = Path("/proc/net/unix")


def listening(path: str) -> frozenset[str]:
    """The inodes of the sockets that listen at `path`, of this network namespace; empty if none does."""
    try:
        lines = _TABLE.read_bytes().split(b"\n")[1:]
    except OSError:
        return frozenset()
    wanted = os.path.realpath(path)
    found = (line.split(None, 7) for line in lines)
    return frozenset(
        fields[6].decode()
        for fields in found
        if len(fields) == 8
        and int(fields[3], 16) & _LISTENING
        and fields[7].startswith(b"/")  # not an abstract one, which begins with @
        and os.path.realpath(os.fsdecode(fields[7])) == wanted
    )


def holders(inodes: frozenset[str], name: str) -> list[int]:
    """The processes that have one of these sockets open; if there are such, only those whose program is called `name`.

    A service manager holds a socket as well, for the program that it starts when somebody connects.
    """
    wanted = {f"socket:[{inode}]" for inode in inodes}
    pids = [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal()] if wanted else []
    called = [pid for pid in pids if _name(pid) == name]
    return [pid for pid in called if _has(pid, wanted)] or [pid for pid in pids if _has(pid, wanted)]


def namespaces(pid: int) -> Iterator[tuple[int, int]]:
    """The network namespaces that threads of a process are in: device and inode of each.

    Raises PermissionError where we may not look.
    """
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return
    for thread in threads:
        try:
            found = os.stat(f"/proc/{pid}/task/{thread}/ns/net")
        except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
            continue
        yield found.st_dev, found.st_ino


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_bytes().decode("utf-8", "replace").rstrip("\n")
    except OSError:
        return ""


def _has(pid: int, wanted: set[str]) -> bool:
    try:
        return any(os.readlink(fd.path) in wanted for fd in os.scandir(f"/proc/{pid}/fd"))
    except OSError:
        return False
