"""Which processes belong to a private host, and the end of exactly those."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

MARK = "PRIVATE_HOST"  # in the environment of whatever is started in a host; what that starts inherits it
PROC = Path("/proc")


class Members:
    """The processes of one host: its mark in their environment, its name in their cgroup, or in its namespaces.

    The two namespaces are held open meanwhile, because only then does their inode stand for them: the next namespace
    of a stranger may get the inode of one that is gone.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._tops = {name, f"{name}.slice"}
        self._mark = f"{MARK}={name}\0".encode()
        self._held: list[int] = []
        self._namespaces: set[tuple[int, int]] = set()

    def hold_namespaces(self, pid: int) -> None:
        """Count everything in this process's network and mount namespace, unless those are our own."""
        for kind in ("net", "mnt"):
            fd = os.open(PROC / str(pid) / "ns" / kind, os.O_RDONLY | os.O_CLOEXEC)
            if _inode(os.fstat(fd)) == _inode((PROC / "self/ns" / kind).stat()):
                os.close(fd)
                raise AssertionError(f"process {pid} is in our own {kind} namespace")
            self._held.append(fd)
            self._namespaces.add(_inode(os.fstat(fd)))

    def release(self) -> None:
        """Let the namespaces go."""
        while self._held:
            os.close(self._held.pop())
        self._namespaces.clear()

    def find(self) -> list[int]:
        """All of them that are alive."""
        return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit() and self._owns(entry)]

    def marked(self) -> list[int]:
        """Those that bear the mark in their environment: proof without any namespace."""
        return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit() and self._bears_mark(entry)]

    def kill(self) -> list[int]:
        """SIGKILL all of them, each looked at once more through a descriptor; returns whom it was sent to."""
        return [pid for pid in self.find() if self.send(pid, signal.SIGKILL)]

    def send(self, pid: int, number: signal.Signals) -> bool:
        """Send a signal to one process, if it is ours; its id cannot pass to a stranger in between."""
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            return False
        try:
            if not self._owns(PROC / str(pid)):
                return False
            signal.pidfd_send_signal(fd, number)
        except OSError:
            return False
        finally:
            os.close(fd)
        return True

    def _owns(self, entry: Path) -> bool:
        if int(entry.name) == os.getpid() or not _alive(entry):
            return False
        return self._bears_mark(entry) or self._in_cgroup(entry) or self._in_namespace(entry)

    def _bears_mark(self, entry: Path) -> bool:
        with contextlib.suppress(OSError):
            return self._mark in (entry / "environ").read_bytes() + b"\0"
        return False

    def _in_cgroup(self, entry: Path) -> bool:
        with contextlib.suppress(OSError):
            lines = (entry / "cgroup").read_text().splitlines()
            return any(not self._tops.isdisjoint(line.split(":", 2)[2].split("/")) for line in lines)
        return False

    def _in_namespace(self, entry: Path) -> bool:
        if not self._namespaces:
            return False
        with contextlib.suppress(OSError):
            return any(_inode((entry / "ns" / kind).stat()) in self._namespaces for kind in ("net", "mnt"))
        return False


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _alive(entry: Path) -> bool:
    """Whether it is more than a zombie that waits to be reaped."""
    with contextlib.suppress(OSError):
        return (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] not in "ZX"
    return False
