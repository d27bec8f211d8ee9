"""Cgroups: the hierarchy that has every container's, and what appears and disappears in it.

All its directories are watched, so the path, on which the driver (cgroupfs, systemd) and `--cgroup-parent` have a say,
does not matter: a new directory's name is enough.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dockercni.linux import inotify, runc_stages

# With version 1 every container is in each of these. systemd makes directories of its own in the last ones only, so
# the first ones have fewer to watch.
_CONTROLLERS: Final = ("freezer", "devices", "pids", "memory", "cpu", "name=systemd")
MAX_CGROUPS: Final = 16384  # directories; the containers' own are not among them

_IN_CREATE: Final = 0x100
_IN_DELETE: Final = 0x200
_IN_Q_OVERFLOW: Final = 0x4000
_IN_IGNORED: Final = 0x8000
_MASK: Final = _IN_CREATE | _IN_DELETE | 0x01000000 | 0x02000000  # only directories, symbolic links not followed
_EVENT: Final = struct.Struct("iIII")


class NoHierarchy(OSError):
    """The machine's cgroups cannot be seen from here; the message says why."""


def layout(root: Path = Path("/sys/fs/cgroup")) -> str:
    """ "v2", "v1" or "hybrid"; "" where no cgroups are mounted."""
    if (root / "cgroup.controllers").exists():
        return "v2"
    if not root.is_dir() or not any(root.iterdir()):
        return ""
    return "hybrid" if (root / "unified" / "cgroup.controllers").exists() else "v1"


def hierarchy(mountinfo: str | None = None) -> Path:
    """Where the hierarchy to watch is mounted, by our own mountinfo or the one given. Raises NoHierarchy."""
    shown = mountinfo is not None
    if mountinfo is None:
        mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    found: dict[str, tuple[str, str]] = {}
    for line in mountinfo.split("\n"):  # not splitlines: names of mounts may have other line ends
        mount, _, file_system = line.partition(" - ")
        kind, _, options = f"{file_system}  ".split(" ", 2)
        if kind in {"cgroup", "cgroup2"}:
            device, root, place = mount.split(" ")[2:5]
            if not shown and not _is_on(place, device):
                continue
            for name in ["cgroup2"] if kind == "cgroup2" else options.rstrip().split(","):
                if name not in found or found[name][0] != "/":
                    found[name] = root, place
    only = "cgroup2" if not any(name in found for name in _CONTROLLERS) else ""
    root, place = next((found[name] for name in (only, *_CONTROLLERS) if name in found), ("", ""))
    if not place:
        raise NoHierarchy(errno.ENOENT, "no cgroup hierarchy is mounted here")
    # In a cgroup namespace of its own a sidecar sees /.. as the root of what lies above, with its engine's containers.
    if set(root.split("/")) - {"", ".."}:
        raise NoHierarchy(errno.EXDEV, f"{place} shows only our own cgroup ({root}), not the machine's")
    return Path(place)


@dataclass(frozen=True, slots=True)
class CgroupChange:
    """A cgroup appeared, or was removed."""

    path: str
    came: bool


def _is_on(place: str, device: str) -> bool:
    """Whether what is seen at `place` is that mount, and not another one over it."""
    try:
        number = os.stat(place).st_dev
    except OSError:
        return False
    return f"{os.major(number)}:{os.minor(number)}" == device


class Tree:
    """A watch of the directories below `root`. Leaves, by their names, are reported and not watched themselves.

    Directories of other users (such as a session's, which systemd delegates) are left out: a user could make a cgroup
    there with the name of any container.

    `fileno` becomes readable when something changed. Not thread-safe. Raises OSError.
    """

    def __init__(self, root: Path, is_leaf: Callable[[str], bool]) -> None:
        self._root = str(root)
        self._is_leaf = is_leaf
        self._watched: dict[int, str] = {}
        self._leaves: set[str] = set()
        self._fd = inotify.instance(self._root)
        try:
            for _ in self._scan(self._root):
                pass  # what is there already came before us
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        """The descriptor to poll."""
        return int(self._fd)

    def close(self) -> None:
        """Watch no more."""
        os.close(self._fd)

    def changes(self) -> Iterator[CgroupChange]:
        """What changed since the last call. Each leaf is reported as new before it is reported as gone."""
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        position = 0
        while position < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, position)
            position += _EVENT.size + length
            name = os.fsdecode(data[position - length : position].rstrip(b"\0"))
            if mask & _IN_Q_OVERFLOW:
                yield from self._rescan()
            elif mask & _IN_IGNORED:
                self._watched.pop(watch, None)
            elif watch in self._watched:
                yield from self._changed(f"{self._watched[watch]}/{name}", name, came=bool(mask & _IN_CREATE))

    def _changed(self, path: str, name: str, *, came: bool) -> Iterator[CgroupChange]:
        if came:
            yield from self._appeared(path, name)
        elif path in self._leaves:
            self._leaves.discard(path)
            yield CgroupChange(path, came=False)

    def _appeared(self, path: str, name: str) -> Iterator[CgroupChange]:
        if not _is_text(name):
            return
        if not self._is_leaf(name):
            yield from self._scan(path)
        elif path not in self._leaves and _only_roots(os.path.dirname(path)):
            self._leaves.add(path)
            yield CgroupChange(path, came=True)

    def _scan(self, path: str) -> Iterator[CgroupChange]:
        """Watch `path`, then list it: in this order nothing appears unseen."""
        if path != self._root and not _only_roots(path):
            return
        watch = inotify.libc.inotify_add_watch(self._fd, os.fsencode(path), _MASK)
        if watch < 0:
            error = inotify.error(path, inotify.WATCHES)
            if error.errno == errno.ENOENT and path != self._root:  # gone again
                return
            raise error
        self._watched[watch] = path
        if len(self._watched) > MAX_CGROUPS:
            raise OSError(errno.E2BIG, f"more than {MAX_CGROUPS} cgroups", path)
        try:
            names = [entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return
        for name in names:
            yield from self._appeared(f"{path}/{name}", name)

    def _rescan(self) -> Iterator[CgroupChange]:
        for leaf in [leaf for leaf in self._leaves if not os.path.isdir(leaf)]:
            self._leaves.discard(leaf)
            yield CgroupChange(leaf, came=False)
        yield from self._scan(self._root)


def processes(directory: int) -> Iterator[int]:
    """The processes of a container's cgroup, given by descriptor, as far as they are seen from here.

    Opens the file each time: cgroups v1 shows one reader the same list for a whole second.
    """
    for name in runc_stages.PROCS:
        yield from _listed(name, directory)


def populated(directory: int) -> bool:
    """Whether processes live in a cgroup, given by descriptor, or below it."""
    try:
        return "populated 1" in _read("cgroup.events", directory).decode("ascii", "replace").splitlines()
    except OSError:  # version 1, or it is gone
        pass
    try:
        return any(_listed("cgroup.procs", below) for _, _, _, below in os.fwalk(".", dir_fd=directory))
    except OSError:
        return False


def _listed(name: str, directory: int) -> list[int]:
    try:
        return [int(pid) for pid in _read(name, directory).split() if pid != b"0"]
    except OSError:
        return []


def _read(name: str, directory: int) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    with os.fdopen(fd, "rb", buffering=0) as file:
        return file.read()


def _is_text(name: str) -> bool:
    """Whether a name is UTF-8: an engine asks for it in JSON, and it is logged and sent as JSON."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _only_roots(path: str) -> bool:
    """Whether only root can make cgroups in that one. Asked at each event, since ownership changes after creation."""
    try:
        status = os.stat(path)
    except OSError:  # gone again
        return False
    return status.st_uid == 0 and not status.st_mode & 0o022
