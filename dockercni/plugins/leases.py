"""host-local's store: a directory for each network, in it one file for each address, shared with the reference plugin.

A file's name is the address, its content ID, carriage return, line feed, IFNAME (older versions wrote only ID).
`last_reserved_ip.N` holds the last address of range set N; every reader and writer locks the file `lock` (flock).

Better than the reference: a file appears with its content or not at all, so that a kill leaves no address without an
owner; no symbolic link inside of the directory is followed; a file that cannot be removed is an error.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from dockercni.cni import trust
from dockercni.cni.errors import ErrorCode
from dockercni.plugins import addresses
from dockercni.plugins.contract import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from dockercni.plugins.addresses import Address

DIRECTORY: Final = "/var/lib/cni/networks"
PATIENCE: Final = 30.0  # seconds
NEW: Final = 120.0  # seconds: twice the default time limit of a plugin
_PAUSE: Final = 0.001  # seconds
_LINE: Final = "\r\n"
_NO_UNNAMED: Final = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}
_SAFE: Final = os.O_NOFOLLOW | os.O_CLOEXEC
_LAST: Final = "last_reserved_ip."
_LOCK: Final = "lock"
_SECOND: Final = 1_000_000_000  # in nanoseconds

_known: dict[tuple[int, int], tuple[int, Owners]] = {}


class Owners:
    """Maps each lease file to its owner, and each owner to its files. An owner is a file's content, stripped."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}
        self._names: dict[str, set[str]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._owners

    def add(self, name: str, owner: str) -> None:
        """Add a file."""
        self._owners[name] = owner
        self._names.setdefault(owner, set()).add(name)

    def discard(self, name: str) -> None:
        """Remove a file."""
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


class Leases:
    """The leases of one network, while they are locked. All methods raise OSError."""

    def __init__(self, directory: int, found: Owners) -> None:
        self._directory = directory
        self._owners = found

    def holds(self, container_id: str, ifname: str) -> bool:
        """Whether the attachment owns any file."""
        return bool(self._of(container_id, ifname) or self._of(container_id))

    def held(self, container_id: str, ifname: str) -> list[Address]:
        """The addresses of the attachment, including those of old files without an interface."""
        names = [*self._of(container_id, ifname), *self._of(container_id)]
        return [address for address in map(addresses.parse, names) if address is not None]

    def last_reserved(self, index: int) -> Address | None:
        """The address that range set `index` assigned last; None if that is not known."""
        with contextlib.suppress(OSError):  # not an error: the set then starts with its first address
            file = self._open(f"{_LAST}{index}", os.O_RDONLY | os.O_NONBLOCK)
            try:
                return addresses.parse(os.read(file, 64).decode("latin-1"))
            finally:
                os.close(file)
        return None

    def reserve(self, address: Address, container_id: str, ifname: str, index: int) -> bool:
        """Take `address` for the attachment, from range set `index`; False if it is taken."""
        name, owner = str(address), f"{container_id}{_LINE}{ifname}"
        if name in self._owners or not self._create(name, owner.encode()):
            return False
        self._owners.add(name, owner)
        try:
            self._write(f"{_LAST}{index}", 0, name.encode())
        except OSError:
            self._remove(name)
            raise
        return True

    def restore(self, address: Address, container_id: str, ifname: str) -> str:
        """Give the attachment an address that it had before; returns who has it instead, "" if nobody else."""
        name, owner = str(address), f"{container_id}{_LINE}{ifname}"
        # Read the file again: a changed content does not change the directory's time stamp.
        held = owner if self._create(name, owner.encode()) else _content(self._directory, name)
        if not held:  # a crash left it empty
            self._write(name, os.O_NONBLOCK, owner.encode())
            held = owner
        self._owners.discard(name)
        self._owners.add(name, held)
        return "" if held in {owner, container_id} else held

    def free(self, address: Address) -> None:
        """Give back what `reserve` took."""
        self._remove(str(address))

    def release(self, container_id: str, ifname: str) -> None:
        """Give back all files of the attachment, or if it has none, old files without an interface."""
        for name in self._of(container_id, ifname) or self._of(container_id):
            self._remove(name)

    def keep_only(self, valid: set[tuple[str, str]], used: Callable[[], Collection[Address]]) -> None:
        """Give back every unused address whose owner is not among the `valid` (container id, ifname).

        The list is that of one runtime, and others may have leases here. So an address in use stays, and so does a new
        one, because its ADD may not have used it yet. An old file without an interface stays as long as its
        container has any attachment.
        """
        wanted = {_LINE.join(each) for each in valid} | {container_id for container_id, _ in valid}
        names = [name for owner in self._owners.all() if owner not in wanted for name in self._owners.names(owner)]
        stale = {name: address for name in names if (address := addresses.parse(name)) and not self._is_new(name)}
        in_use = used() if stale else ()
        for name, address in stale.items():
            if address not in in_use:
                self._remove(name)

    def _is_new(self, name: str) -> bool:
        try:
            made = os.stat(name, dir_fd=self._directory, follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return False
        return time.time() - made < NEW

    def _of(self, *owner: str) -> list[str]:
        return self._owners.names(_LINE.join(owner))

    def _remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._directory)
        self._owners.discard(name)

    def _create(self, name: str, content: bytes) -> bool:
        """Create a file together with its content; False if a file of that name exists."""
        try:
            unnamed = self._open(".", os.O_WRONLY | os.O_TMPFILE, 0o600)
        except OSError as error:
            if error.errno not in _NO_UNNAMED:
                raise
            return self._create_and_write(name, content)
        try:
            os.write(unnamed, content)
            os.link(f"/proc/self/fd/{unnamed}", name, dst_dir_fd=self._directory, follow_symlinks=True)
        except FileExistsError:
            return False
        finally:
            os.close(unnamed)
        return True

    def _create_and_write(self, name: str, content: bytes) -> bool:
        """As `_create`, on a file system without unnamed files (O_TMPFILE)."""
        try:
            self._write(name, os.O_EXCL, content)
        except FileExistsError:
            return False
        return True

    def _write(self, name: str, flags: int, content: bytes) -> None:
        file = self._open(name, os.O_WRONLY | os.O_CREAT | flags, 0o600)
        try:
            os.write(file, content)
            os.ftruncate(file, len(content))  # after the write: on ext4, emptying a file first waits for the disk
        finally:
            os.close(file)

    def _open(self, name: str, flags: int, mode: int = 0) -> int:
        return os.open(name, flags | _SAFE, mode, dir_fd=self._directory)


def directory(data_directory: str, network: str) -> str:
    """The directory of a network's leases, with the `dataDir` of its configuration."""
    return os.path.join(data_directory or DIRECTORY, network)  # pathlib would double what a cold start costs


@contextmanager
def locked(data_directory: str, network: str) -> Iterator[Leases]:
    """Lock the leases of `network`; makes their directory if it is missing. Raises OSError, PluginFailure.

    `network` must have passed `names.validate_network_name`, because it names the directory.
    """
    path = directory(data_directory, network)
    os.makedirs(path, mode=0o755, exist_ok=True)
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _SAFE)
    try:
        trust.refuse(path)
        lock = os.open(_LOCK, os.O_RDONLY | os.O_CREAT | _SAFE, 0o750, dir_fd=opened)
        try:
            _wait_for(lock, path)
            found = _read_owners(opened)
            yield Leases(opened, found)
            _remember(opened, found)
        finally:
            os.close(lock)
    finally:
        os.close(opened)


def _wait_for(lock: int, path: str) -> None:
    """Take the lock. Raises PluginFailure, code 11, after PATIENCE seconds: no legitimate use takes so long."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                problem = f"another process has kept {path}/{_LOCK} locked for {PATIENCE:g} s"
                raise PluginFailure(problem, ErrorCode.TRY_AGAIN_LATER) from None
        time.sleep(_PAUSE)


def _read_owners(directory: int) -> Owners:
    """The owners of all files in the directory behind that descriptor, whose lock the caller has. Raises OSError."""
    status = os.fstat(directory)
    known = _known.get((status.st_dev, status.st_ino))
    return known[1] if known and known[0] == status.st_mtime_ns else _scan(directory)


def _remember(directory: int, owners: Owners) -> None:
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
        if name == _LOCK or name.startswith(_LAST):
            continue
        with contextlib.suppress(OSError):  # removed by someone who does not lock
            owners.add(name, _content(directory, name))
    return owners


def _content(directory: int, name: str) -> str:
    """Whose a file of that directory is now; "" if it says nothing. Raises OSError."""
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(file, 4096).decode("latin-1").strip()
    finally:
        os.close(file)
