"""Who has which file of a lease directory, remembered from one call to the next.

Reading 2,000 files takes longer than everything else in an ADD. So the directory's time of change is set to one that
the kernel will not come up with: as long as it stands, nobody, no executable either, has made or removed a file there.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Final


class Owners:
    """Whose each file of a directory is, by its name and by its content without white space around it."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}
        self._names: dict[str, set[str]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._owners

    def add(self, name: str, owner: str) -> None:
        """Note a file."""
        self._owners[name] = owner
        self._names.setdefault(owner, set()).add(name)

    def discard(self, name: str) -> None:
        """Forget a file."""
        owner = self._owners.pop(name, None)
        if owner is not None:
            names = self._names[owner]
            names.discard(name)
            if not names:
                del self._names[owner]

    def names(self, owner: str) -> list[str]:
        """The files of `owner`, sorted."""
        return sorted(self._names.get(owner, ()))

    def all(self) -> list[str]:
        """All owners."""
        return list(self._names)


KEEPING: Final = "last_reserved_ip."
LOCK: Final = "lock"
_SECOND: Final = 1_000_000_000  # in nanoseconds

_known: dict[tuple[int, int], tuple[int, Owners]] = {}


def read(directory: int) -> Owners:
    """The owners of all files in the directory behind that descriptor, whose lock the caller has. Raises OSError."""
    status = os.fstat(directory)
    known = _known.get((status.st_dev, status.st_ino))
    return known[1] if known and known[0] == status.st_mtime_ns else _scan(directory)


def remember(directory: int, owners: Owners) -> None:
    """Keep `owners`, which the caller has kept in step with the directory, for the next `read`."""
    status = os.fstat(directory)
    mark = (time.time_ns() // _SECOND - 1) * _SECOND + int.from_bytes(os.urandom(4), "big") % _SECOND
    with contextlib.suppress(OSError):  # then it is read again
        os.utime(directory, ns=(status.st_atime_ns, mark))
        if os.fstat(directory).st_mtime_ns == mark:  # not on a file system that knows whole seconds only
            _known[status.st_dev, status.st_ino] = (mark, owners)


def _scan(directory: int) -> Owners:
    owners = Owners()
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    for name in names:
        if name == LOCK or name.startswith(KEEPING):
            continue
        with contextlib.suppress(OSError):  # removed by someone who does not lock
            owners.add(name, content(directory, name))
    return owners


def content(directory: int, name: str) -> str:
    """Whose a file of that directory is now; "" if it says nothing. Raises OSError."""
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(file, 4096).decode("latin-1").strip()
    finally:
        os.close(file)
