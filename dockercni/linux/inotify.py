"""inotify: instances, the limits that may be in the way of one, and directories whose entries are watched."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

INSTANCES: Final = "fs.inotify.max_user_instances"
WATCHES: Final = "fs.inotify.max_user_watches"
_AT_THE_LIMIT: Final = {INSTANCES: errno.EMFILE, WATCHES: errno.ENOSPC}

_CLOSE_WRITE: Final = 0x8
_MOVED: Final = 0x40 | 0x80
_CREATED_DELETED: Final = 0x100 | 0x200
_MASK: Final = _CLOSE_WRITE | _MOVED | _CREATED_DELETED | 0x01000000  # IN_ONLYDIR

libc = ctypes.CDLL(None, use_errno=True)


def instance(path: str) -> int:
    """The descriptor of a new instance; `path` is for the error. Raises OSError."""
    fd = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if fd < 0:
        raise error(path, INSTANCES)
    return fd


def error(path: str, sysctl: str) -> OSError:
    """The last call's error; where it comes from a limit of inotify, it names the sysctl to raise."""
    code = ctypes.get_errno()
    words = os.strerror(code)
    if code == _AT_THE_LIMIT.get(sysctl) and (code != errno.EMFILE or _descriptors_left()):
        words = f"inotify is at its limit: raise {sysctl} (sysctl -w {sysctl}=...)"
    return OSError(code, words, path)


def _descriptors_left() -> bool:
    """Whether this process may open another file; if not, EMFILE does not come from inotify's limit."""
    try:
        os.close(os.open("/", os.O_PATH | os.O_CLOEXEC))
    except OSError:
        return False
    return True


class Directories:
    """A watch over names that come, go or change in directories. Not thread-safe.

    Where the kernel refuses it, `problem` says why, and `wait` only waits for its time.
    """

    def __init__(self) -> None:
        self._fd = -1
        self.problem = ""

    def close(self) -> None:
        """Stop watching."""
        if self._fd >= 0:
            os.close(self._fd)

    def watch(self, paths: Iterable[Path]) -> None:
        """Watch these as well; for one that does not exist, the nearest directory above it."""
        if self._fd < 0:
            self._begin()
        for path in paths if self._fd >= 0 else ():
            if not self._add(path):
                any(self._add(above) for above in path.parents)
                self._add(path)  # it may have been created between the two

    def _begin(self) -> None:
        try:
            self._fd = instance("")
            self.problem = ""
        except OSError as error:
            self.problem = error.strerror or str(error)

    def _add(self, path: Path) -> bool:
        """Watch one directory; whether that works. Watching it twice changes nothing."""
        return bool(libc.inotify_add_watch(self._fd, os.fsencode(path), _MASK) >= 0)

    def wait(self, seconds: float, quiet: float) -> None:
        """Return when something changed and then nothing for `quiet` seconds, or after `seconds`.

        Changes since the last call count.
        """
        if self._fd < 0:
            time.sleep(seconds)
            return
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        while poll.poll(seconds * 1000):
            with contextlib.suppress(BlockingIOError):
                os.read(self._fd, 65536)
            seconds = quiet
