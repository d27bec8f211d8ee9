"""The list of private hosts that exist, so that those of a killed run can be ended by the next.

Each host has a directory, with its log files and a file that its owner keeps locked while it lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from tests.hosts import cgroups
from tests.hosts.processes import Members
from tests.hosts.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "dockercni-test-"


def base() -> Path:
    """The directory of the list."""
    directory = Path(tempfile.gettempdir()) / "dockercni-tests"
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    assert not directory.is_symlink(), f"{directory} is a link"
    assert status.st_uid == os.geteuid(), f"{directory} belongs to somebody else"
    return directory


class Entry:
    """One host on the list: its name, and its directory; the lock on it says that its owner lives."""

    def __init__(self) -> None:
        with exclusive():
            self.name = PREFIX + uuid.uuid4().hex[:12]
            self.directory = base() / self.name
            self.directory.mkdir(mode=0o700)
            self._lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Take it off the list, not while another process looks at that."""
        with exclusive():
            shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self._lock)


def end_host(members: Members) -> None:
    """End every process of a host, and remove its cgroups."""

    def gone() -> bool:
        cgroups.thaw(members.name)
        members.kill()
        return not members.find()

    wait_until(gone, 20, f"the end of all processes of {members.name}", members.find)
    wait_until(lambda: cgroups.remove(members.name), 10, f"the end of the cgroups of {members.name}")


def sweep() -> list[str]:
    """End the hosts whose owner is gone; returns their names."""
    with exclusive():
        return [directory.name for directory in base().glob(f"{PREFIX}*") if _sweep_one(directory)]


def _sweep_one(directory: Path) -> bool:
    try:
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:  # its owner removes it at this moment
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        members = Members(directory.name)
        for pid in members.marked():
            with contextlib.suppress(OSError, AssertionError):
                members.hold_namespaces(pid)
        try:
            end_host(members)
        finally:
            members.release()
        shutil.rmtree(directory)
        return True
    finally:
        os.close(lock)


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Nobody else makes or sweeps hosts meanwhile."""
    lock = os.open(base() / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
