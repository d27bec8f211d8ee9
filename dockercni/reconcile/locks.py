"""The locks. All are on files below the run directory, so the kernel frees them when their holders die: byte ranges
for ports, flock for the others.

Order: container, host, ports (by number), bridge, FORWARD (`linux.forward`). No thread waits for a container's lock
while it holds another lock.

- container (`lock/<id>`), exclusive: every operation on one container. Plugins inherit it, so a plugin that outlives
  us keeps it; the next one to lock waits for the plugin's time limit, and then kills what still has the file open.
- host (`host.lock`): shared for ADD and DEL, exclusive for what must not meet an ADD or DEL under way (GC, sweeps).
- ports (bytes of `ports.lock`), exclusive: from finding a port of the host free to recording that it is published.
- bridge (`bridge/<name>`), exclusive: the addresses, ports and settings of one bridge.
- daemon (`daemon.lock`), exclusive: one daemon.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dockercni.errors import LockHeld, LockUnusable
from dockercni.files import file_below, private_directory, read_regular
from dockercni.linux import processes
from dockercni.reconcile.port_claims import Claim, Claims

_PAUSE: Final = 0.01  # seconds between two tries; flock itself has no time limit
_MOMENT: Final = 0.5  # seconds
_MAX_LOCK_FILE: Final = 4096  # bytes of a lock's file
_SAFE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_GRACE: Final = 5.0  # seconds that the kernel may take to end what was killed


@dataclass(frozen=True, slots=True)
class Locks:
    """The locks below `run_dir`. `patience` (seconds) is how long a plugin may run, and so how long to wait for one."""

    run_dir: Path
    patience: float

    @contextlib.contextmanager
    def container(self, container_id: str) -> Iterator[int]:
        """Hold the lock of one container; yields its descriptor. Raises LockHeld if its holder does not release it,
        LockUnusable for an id that cannot be a file name, or a file of another kind in its place."""
        path = self._file("lock", container_id)
        with _held(path, fcntl.LOCK_EX, self.patience + _GRACE, orphans_after=self.patience) as fd:
            yield fd
            path.unlink(missing_ok=True)  # waiters notice that, and lock the next file

    def containers(self) -> Iterator[str]:
        """The ids whose locks are held, or were held when their holder was killed."""
        for path in self.run_dir.joinpath("lock").glob("*"):
            yield path.name

    @contextlib.contextmanager
    def host(self, *, exclusive: bool = False) -> Iterator[None]:
        """Hold the host's lock. Raises LockHeld."""
        with _held(self._file("host.lock"), fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH, self.patience + _GRACE):
            yield

    @contextlib.contextmanager
    def bridge(self, name: str) -> Iterator[None]:
        """Hold the lock of one bridge. Raises LockHeld."""
        with _held(self._file("bridge", name), fcntl.LOCK_EX, self.patience + _GRACE):
            yield

    @contextlib.contextmanager
    def ports(self, wanted: Iterable[Claim]) -> Iterator[Claims]:
        """Hold these (protocol, port of the host); yields what can claim more of them. Raises LockHeld."""
        path = self._file("ports.lock")
        try:
            fd = _open(path)
        except OSError as error:
            raise LockUnusable(f"cannot lock {path}: {_reason(error)}") from error
        try:
            claims = Claims(fd, path)
            claims.wait(wanted, time.monotonic() + self.patience + _GRACE)
            yield claims
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def daemon(self) -> Iterator[None]:
        """Hold the daemon's lock. Raises LockHeld if another one does, after a moment: `daemon_lives` takes it, too."""
        with _held(self._file("daemon.lock"), fcntl.LOCK_EX, _MOMENT):
            yield

    def daemon_lives(self) -> bool:
        """Whether a daemon holds its lock. Leaves no trace."""
        try:
            fd = os.open(self.run_dir / "daemon.lock", os.O_RDONLY | _SAFE)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def daemon_pid(self) -> int | None:
        """The process that holds the daemon's lock, as its file says; None if it has ended."""
        try:
            pid, began, *_ = _read(self.run_dir / "daemon.lock").split(" ")
            return int(pid) if processes.start_time(int(pid)) == int(began) else None
        except (OSError, ValueError):
            return None

    def _file(self, *parts: str) -> Path:
        """The path of a lock, by its folder (if any) and name. Raises LockUnusable, also for a name that is a path."""
        *folders, name = parts
        try:
            path = file_below(self.run_dir.joinpath(*folders), name)
            private_directory(self.run_dir)
            private_directory(path.parent)
        except (OSError, ValueError) as error:
            raise LockUnusable(f"cannot lock {name!a} below {self.run_dir}: {_reason(error)}") from error
        return path


@contextlib.contextmanager
def _held(path: Path, kind: int, seconds: float, orphans_after: float | None = None) -> Iterator[int]:
    deadline = time.monotonic() + seconds
    while (fd := _tried(path, kind)) is None:
        if orphans_after is not None and not _owner_lives(path):
            _end_orphans(path, orphans_after)
        if time.monotonic() >= deadline:
            raise LockHeld(str(path), _owner(path))
        time.sleep(_PAUSE)
    try:
        if kind == fcntl.LOCK_EX:
            _sign(fd)
        yield fd
    finally:
        os.close(fd)


def _sign(fd: int) -> None:
    """Write the holder into the lock's file. It only explains: on a full disk the lock is held without it."""
    words = _myself()
    try:
        os.pwrite(fd, words, 0)  # overwriting needs no room on the disk
        os.ftruncate(fd, len(words))
    except OSError:
        os.ftruncate(fd, 0)


def _tried(path: Path, kind: int) -> int | None:
    try:
        return _try(path, kind)
    except OSError as error:
        raise LockUnusable(f"cannot lock {path}: {_reason(error)}") from error


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _try(path: Path, kind: int) -> int | None:
    """Open and lock; None if it is held, or the file was removed meanwhile."""
    fd = _open(path)
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False)):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return None


def _open(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | _SAFE, 0o600)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def _myself() -> bytes:
    """The content of a lock's file: process id, its start, the moment of locking, and the command for people."""
    command = " ".join(["dockercni", *sys.argv[1:2]])
    return f"{os.getpid()} {processes.start_time(os.getpid())} {time.monotonic_ns()} {command}\n".encode()


def _read(path: Path) -> str:
    return read_regular(path, _MAX_LOCK_FILE).decode("utf-8", "replace")


def _owner(path: Path) -> str:
    try:
        pid, _, _, command = _read(path).strip().split(" ", 3)
    except (OSError, ValueError):
        return "another process"
    return f"process {pid} ({command})"


def _owner_lives(path: Path) -> bool:
    try:
        pid, began, *_ = _read(path).split(" ")
        return processes.start_time(int(pid)) == int(began)
    except (OSError, ValueError):
        return True  # it is just being taken or released


def _end_orphans(path: Path, seconds: float) -> None:
    """Kill the plugins that hold the lock of a process that died, once their time limit is over."""
    with contextlib.suppress(FileNotFoundError):
        if time.time() - path.lstat().st_mtime >= seconds:
            for pid in processes.holding(path):
                processes.kill(pid)
