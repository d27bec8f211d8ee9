"""Who has which file of a lease directory, remembered from one call to the next.

Reading 2,000 files takes longer than everything else in an ADD. So the directory's time of change is set to one that
the kernel will not come up with: as long as it stands, nobody, no executable either, has made or removed a file there.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Final

Owners = dict[str, str]
"""Name of the file -> its content, without white space around it."""

KEEPING: Final = "last_reserved_ip."
LOCK: Final = "lock"
_SECOND: Final = 1_000_000_000  # in nanoseconds

_known: dict[tuple[int, int], tuple[int, Owners]] = {}


def read(directory: int) -> Owners:
    """The owners of all files in the directory behind that descriptor, whose lock the caller has. Raises OSError."""
    status = os.fstat(directory)
    changed, owners = _known.get((status.st_dev, status.st_ino), (-1, {}))
    return owners if changed == status.st_mtime_ns else _scan(directory)


def remember(directory: int, owners: Owners) -> None:
    """Keep `owners`, which the caller has kept in step with the directory, for the next `read`."""
    status = os.fstat(directory)
    mark = (time.time_ns() // _SECOND - 1) * _SECOND + int.from_bytes(os.urandom(4), "big") % _SECOND
    with contextlib.suppress(OSError):  # then it is read again
        os.utime(directory, ns=(status.st_atime_ns, mark))
        if os.fstat(directory).st_mtime_ns == mark:  # not on a file system that knows whole seconds only
            _known[status.st_dev, status.st_ino] = (mark, owners)


def _scan(directory: int) -> Owners:
    owners = {}
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    for name in names:
        if name == LOCK or name.startswith(KEEPING):
            continue
        with contextlib.suppress(OSError):  # removed by someone who does not lock
            owners[name] = content(directory, name)
    return owners


def content(directory: int, name: str) -> str:
    """What stands in a file, without white space around it. Raises OSError, also for a symbolic link."""
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(file, 4096).decode("latin-1").strip()
    finally:
        os.close(file)
