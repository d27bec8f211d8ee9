"""libcni's attachment cache: one file for each attachment, in libcni's place and format, written ahead.

An entry is written, without a result, before the first plugin runs, and again after each plugin. So a complete DEL is
possible whatever process is killed at whatever moment. libcni reads such files, and ignores the object that holds what
libcni does not record.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from dockercni.cni import cache_entry as format_
from dockercni.cni import trust
from dockercni.cni.cache_entry import CacheEntry
from dockercni.cni.errors import CacheError, EntryTooNew
from dockercni.files import private_directory, read_regular, replace_file

MAX_BYTES: Final = 64 << 20  # of an entry: more than the longest accepted output of a plugin needs
_TICK: Final = 3 * 10**9  # nanoseconds: longer than the resolution of any file system's time stamps
_PREFIX: Final = ".cache-entry-"


class Cache:
    """The cache in `directory` (libcni's default: /var/lib/cni).

    Each write is atomic. Thread-safe for different attachments; for one attachment the caller serialises, as the CNI
    specification demands of runtimes anyway.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._results = directory / "results"
        self._listed: tuple[tuple[int, ...], list[str]] = (), []  # state of the directory, and its file names then

    def write(self, entry: CacheEntry, *, new: bool = False) -> None:
        """Record `entry`; with `new`, refuse if a file of that name is there. Raises CacheError."""
        path = self._path((entry.network, entry.container_id, entry.ifname))
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            private_directory(self._results, shared=True)
            if new and os.path.lexists(path):
                raise CacheError(
                    f"{path} exists: container {entry.container_id} is attached to network {entry.network} as "
                    f"{entry.ifname} already, or another runtime did not clean up"
                )
            # the temporary file is not in results/, where libcni would read it
            replace_file(path, format_.encode(entry), scratch=self.directory, prefix=f"{_PREFIX}{os.getpid()}-")
        except (OSError, ValueError) as error:
            raise CacheError(f"cannot write {path}: {_reason(error)}") from error

    def remove(self, entry: CacheEntry) -> None:
        """Remove `entry`. Success if it is gone already. Another attachment with the same file name stays.

        Raises CacheError.
        """
        try:
            path = self._path(entry.key)
        except CacheError:  # no such entry can exist
            return
        try:
            found = self._load(path.name)
        except EntryTooNew:
            raise
        except CacheError:
            found = None  # an unreadable file is removed with the attachment that its name is for
        if isinstance(found, CacheEntry) and found.key != entry.key:
            return
        try:
            path.unlink(missing_ok=True)
        except (OSError, ValueError) as error:
            raise CacheError(f"cannot remove {path}: {_reason(error)}") from error

    def read(self, network: str, container_id: str, ifname: str) -> CacheEntry | None:
        """The entry of this attachment; None when there is none. Raises CacheError when it cannot be read.

        Empty names are an error, too.
        """
        key = (network, container_id, ifname)
        if all(key) and any(char in part for part in key for char in "/\0"):
            return None  # no such file can exist
        found = self._load(self._path(key).name)
        if isinstance(found, CacheEntry):
            return found if found.key == key else None  # other names may join to the same file name
        return None if found is None else CacheEntry(*key, netns="", config=b"", result=found)

    def entries(
        self, container_id: str = "", broken: Callable[[CacheError], object] = lambda _: None
    ) -> Iterator[CacheEntry]:
        """Every entry (of one container), in the order of the file names.

        A file that cannot be read is skipped: `broken` is called with the error that says why, in its turn.
        """
        try:
            names = self._names()
        except FileNotFoundError:
            return
        except OSError as error:
            broken(CacheError(f"cannot read {self._results}: {_reason(error)}"))
            return
        for name in names:
            if container_id and f"-{container_id}-" not in name:
                continue
            try:
                found = self._load(name)
            except CacheError as error:
                broken(error)
                continue
            if isinstance(found, CacheEntry):
                if not container_id or found.container_id == container_id:
                    yield found
            elif found is not None:
                broken(CacheError(f"{self._results / name} is a bare result and does not say whose"))

    def broken(self, container_id: str = "") -> list[CacheError]:
        """Why files (with the id of one container in their name) cannot be read."""
        found: list[CacheError] = []
        for _ in self.entries(container_id, found.append):
            pass
        return found

    def _names(self) -> list[str]:
        """The file names, in order; a directory that has not changed is not listed again. Raises OSError."""
        now = time.time_ns()
        status = os.stat(self._results)
        trust.refuse(self._results)  # a DEL runs the plugins of the configuration that is recorded there
        state = status.st_dev, status.st_ino, status.st_mtime_ns
        known, names = self._listed
        if state != known:
            names = sorted(os.listdir(self._results))
            if now - status.st_mtime_ns > _TICK:  # else the next change may have the same time stamp
                self._listed = state, names
        return names

    def sweep(self) -> None:
        """Remove temporary files of writers that were killed. A writer that still lives may be using its own."""
        for leftover in self.directory.glob(f"{_PREFIX}*"):
            writer = leftover.name.removeprefix(_PREFIX).partition("-")[0]
            if not (writer.isdecimal() and os.path.exists(f"/proc/{writer}")):
                with contextlib.suppress(OSError):
                    leftover.unlink()

    def _path(self, key: tuple[str, str, str]) -> Path:
        """The path of the entry, always inside results/. Raises CacheError for names that would lead elsewhere."""
        name = "-".join(key)
        if not all(key) or "/" in name or "\0" in name:
            raise CacheError("no cache entry for network {!a}, container {!a}, interface {!a}".format(*key))
        return self._results / name

    def _load(self, name: str) -> CacheEntry | Mapping[str, Any] | None:
        path = self._results / name
        try:
            data = read_regular(path, MAX_BYTES)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CacheError(f"cannot read {path}: {_reason(error)}") from error
        try:
            found = format_.decode(data)
        except CacheError as error:
            raise type(error)(f"{path} is not a cache entry: {error}") from error
        # an entry is removed by the names in it, which must not lead to another file
        if isinstance(found, CacheEntry) and found.file_name != name:
            raise CacheError(f"{path} is not a cache entry: it says that it is {found.file_name}")
        return found


def _reason(error: OSError | ValueError) -> str:
    if not isinstance(error, OSError):
        return str(error)
    return "it is a symbolic link" if error.errno == errno.ELOOP else str(error.strerror)
