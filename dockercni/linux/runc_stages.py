"""A container's process while the runtime makes it, by /proc. Keep the imports light: the hold's helper has this."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from typing import Final

# crun makes a cgroup `container` in the scope that systemd gives it, moves the processes there, and leaves the scope
# itself empty. Read in this order, a process that moves meanwhile is seen twice rather than never.
PROCS: Final = ("cgroup.procs", "container/cgroup.procs")


def namespace(pid: int) -> tuple[int, int]:
    """Device and inode of a process's network namespace. Raises OSError."""
    return _identity(f"/proc/{pid}/ns/net")


def mount_namespace(pid: int) -> tuple[int, int]:
    """Device and inode of a process's mount namespace. Raises OSError."""
    return _identity(f"/proc/{pid}/ns/mnt")


def arguments(pid: int) -> list[str]:
    """The command line of a process. Raises OSError."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return os.fsdecode(file.read()).split("\0")


def members(cgroup: str) -> Iterator[str]:
    """The process ids in a container's cgroup; none if it is gone."""
    for name in PROCS:
        try:
            with open(f"{cgroup}/{name}", encoding="ascii") as file:
                pids = file.read().split()
        except OSError:
            continue
        yield from pids


def alive(pidfd: int) -> bool:
    """Whether the process has not ended. Its id is not reused before it is reaped."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)


def forking(pid: int) -> bool:
    """Whether it is a stage of runc that only forks the next one and never executes anything."""
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read().startswith((b"runc:[0", b"runc:[1"))
    except OSError:
        return True


def tracer(pid: int, tid: int) -> int | None:
    """The process that traces a thread, 0 if none does; None if the thread has ended."""
    try:
        with open(f"/proc/{pid}/task/{tid}/status", encoding="utf-8", errors="replace") as file:
            fields = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    except OSError:
        return None
    return None if fields["State"][0] in "ZX" else int(fields["TracerPid"])


def executed(pid: int) -> bool:
    """Whether process `pid` executes the container's program, and no longer the runtime's.

    It does if its executable lies in its own root, and that root is no longer its parent's.
    """
    own = f"/proc/{pid}/root"
    try:
        if os.path.samestat(os.stat(own), os.stat(f"/proc/{parent(pid)}/root")):
            return False
        # both as we see them: a root that was pivoted into is "/", one that was only changed into is a path
        program = os.readlink(f"/proc/{pid}/exe").removeprefix(os.readlink(own).rstrip("/"))
        return os.path.samestat(os.stat(own + program), os.stat(f"/proc/{pid}/exe"))
    except OSError:  # a memory file, or a path outside of that root
        return False


def parent(pid: int) -> int:
    """The parent of a process, 0 if it is not seen from here. Raises OSError."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])


def _identity(path: str) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino
