"""Directories, and the kernel's word (inotify) that names in them came, went or changed."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dockercni.linux import inotify

_CLOSE_WRITE: Final = 0x8
_MOVED: Final = 0x40 | 0x80
_CREATED_DELETED: Final = 0x100 | 0x200
_MASK: Final = _CLOSE_WRITE | _MOVED | _CREATED_DELETED | 0x01000000  # IN_ONLYDIR


class Directories:
    """A watch over directories. Not thread-safe.

    Where the kernel gives none `problem` says why, and whoever waits has to look by himself when the time is over.
    """

    def __init__(self) -> None:
        self._fd = -1
        self.problem = ""

    def close(self) -> None:
        """Watch no more."""
        if self._fd >= 0:
            os.close(self._fd)

    def watch(self, paths: Iterable[Path]) -> None:
        """Watch these as well; in place of one that is not there yet the nearest directory above it."""
        if self._fd < 0:
            self._begin()
        for path in paths if self._fd >= 0 else ():
            if not self._add(path):
                any(self._add(above) for above in path.parents)
                self._add(path)  # it may have come into being between the two

    def _begin(self) -> None:
        try:
            self._fd = inotify.instance("")
            self.problem = ""
        except OSError as error:
            self.problem = error.strerror or str(error)

    def _add(self, path: Path) -> bool:
        """Watch one directory; for one that is watched already nothing changes."""
        return bool(inotify.libc.inotify_add_watch(self._fd, os.fsencode(path), _MASK) >= 0)

    def wait(self, seconds: float, quiet: float) -> None:
        """Return some `quiet` seconds after something changed, or when the time is over.

        What changed while nobody waited counts.
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
