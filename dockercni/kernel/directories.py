"""Directories, and the kernel's word (inotify) that names in them came, went or changed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_CLOSE_WRITE: Final = 0x8
_MOVED: Final = 0x40 | 0x80
_CREATED_DELETED: Final = 0x100 | 0x200
_MASK: Final = _CLOSE_WRITE | _MOVED | _CREATED_DELETED | 0x01000000  # IN_ONLYDIR

_libc = ctypes.CDLL(None, use_errno=True)


class Directories:
    """A watch over directories. Not thread-safe. Raises OSError where the kernel gives no instance."""

    def __init__(self) -> None:
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def close(self) -> None:
        """Watch no more."""
        os.close(self._fd)

    def watch(self, paths: Iterable[Path]) -> None:
        """Watch these as well; in place of one that is not there yet the nearest directory above it."""
        for path in paths:
            if not self._add(path):
                any(self._add(above) for above in path.parents)
                self._add(path)  # it may have come into being between the two

    def _add(self, path: Path) -> bool:
        """Watch one directory; for one that is watched already nothing changes."""
        return bool(_libc.inotify_add_watch(self._fd, os.fsencode(path), _MASK) >= 0)

    def wait(self, seconds: float, quiet: float) -> None:
        """Return some `quiet` seconds after something changed, or when the time is over.

        What changed while nobody waited counts.
        """
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        while poll.poll(seconds * 1000):
            with contextlib.suppress(BlockingIOError):
                os.read(self._fd, 65536)
            seconds = quiet
