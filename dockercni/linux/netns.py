"""Network namespaces: open, identify, enter, pin.

A namespace is held by a descriptor. Device and inode tell two namespaces apart only while both are held: the kernel
gives the next namespace the inode of one that is gone. SO_NETNS_COOKIE (Linux 5.14) is unique within a boot, so records
name a namespace by cookie and boot id.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from dockercni.linux import processes, threads
from dockercni.linux.netlink import Netlink
from dockercni.linux.sysctl import LinkSysctls

T = TypeVar("T")

_CLONE_NEWNET: Final = 0x40000000
_NS_GET_USERNS: Final = 0xB701  # ioctl(2) on a namespace's descriptor: one of the user namespace that owns it
_NS_GET_PARENT: Final = 0xB702
_NS_GET_NSTYPE: Final = 0xB703  # ioctl(2) on an nsfs descriptor: which kind of namespace it is
_SO_NETNS_COOKIE: Final = 71
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_SHARED: Final = 1 << 20
_MNT_DETACH: Final = 2
_UMOUNT_NOFOLLOW: Final = 8

_libc = ctypes.CDLL(None, use_errno=True)


class NamespaceGone(OSError):
    """There is no such namespace (any more): the path is missing, or its process has ended."""


class NotANamespace(OSError):
    """The path exists, but it is not a network namespace."""


@dataclass(frozen=True, slots=True)
class NetnsHandle:
    """A namespace's netlink socket and the sysctls of its links: all that work in it needs, from any thread."""

    netlink: Netlink
    sysctls: LinkSysctls


class Namespace:
    """A network namespace held by a descriptor; a context manager that closes it.

    Two of them are equal when they are the same namespace.
    """

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path
        stat = os.fstat(fd)
        self.identity = (stat.st_dev, stat.st_ino)

    @classmethod
    def open(cls, path: str | Path, *, follow: bool = True) -> Self:
        """Open the namespace at `path`. Raises NamespaceGone, NotANamespace, or OSError (EACCES: CAP_SYS_PTRACE).

        Without `follow` a symbolic link there is an OSError (ELOOP).
        """
        if "\0" in str(path):
            raise NamespaceGone(errno.ENOENT, "no path", ascii(str(path)))
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
        except (FileNotFoundError, ProcessLookupError, NotADirectoryError) as error:
            raise NamespaceGone(error.errno, "no such network namespace", str(path)) from error
        try:
            kind = fcntl.ioctl(fd, _NS_GET_NSTYPE)
        except OSError as error:
            os.close(fd)
            raise NotANamespace(error.errno, "not a network namespace", str(path)) from error
        if kind != _CLONE_NEWNET:
            os.close(fd)
            raise NotANamespace(errno.EINVAL, "a namespace, but not a network namespace", str(path))
        return cls(fd, str(path))

    @classmethod
    def of_process(cls, pid: int) -> Self:
        """Open the namespace that process `pid` lives in. Raises as `open`."""
        try:
            return cls.open(f"/proc/{pid}/ns/net")
        except PermissionError as error:  # also the kernel's answer for a process that has ended meanwhile
            if os.path.exists(f"/proc/{pid}"):
                raise
            raise NamespaceGone(errno.ESRCH, "that process has ended", error.filename) from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Namespace) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)

    def run(self, work: Callable[[], T]) -> T:
        """Run `work` inside the namespace and return what it returns, or raise what it raises.

        In a thread of its own that ends afterwards: setns is per thread, and a thread that never goes back cannot be
        left in the wrong namespace. Keep `work` short: open a socket inside, use it outside. Raises OSError (EAGAIN)
        when no thread can be started.
        """
        outcome: list[T] = []
        failure: list[BaseException] = []

        def inside() -> None:
            try:
                _enter(self.fd)
                outcome.append(work())
            except BaseException as error:  # noqa: BLE001  handed to the caller's thread, whatever it is
                failure.append(error)

        threads.start("netns", inside).join()
        if failure:
            raise failure[0]
        return outcome[0]

    @contextlib.contextmanager
    def handle(self) -> Iterator[NetnsHandle]:
        """A netlink socket and the sysctls of this namespace, opened in one visit. Raises OSError."""
        opened = self.run(lambda: NetnsHandle(Netlink(), LinkSysctls()))
        try:
            yield opened
        finally:
            opened.netlink.close()
            opened.sysctls.close()

    def cookie(self) -> int | None:
        """The kernel's SO_NETNS_COOKIE of this namespace, unique within a boot; None before Linux 5.14."""

        return self.run(cookie)

    def interfaces(self) -> frozenset[str]:
        """Names of the links in this namespace."""
        return self.run(lambda: frozenset(name for _, name in socket.if_nameindex()))

    def owners(self) -> frozenset[tuple[int, int]]:
        """Device and inode of the user namespace that owns this one, and of its ancestors (ioctl_ns(2)).

        Capabilities in any of them are valid here; those in a user namespace that a process made for itself are not.
        The last one is this process's own, since it may not ask for the parents of that.
        """
        found: list[tuple[int, int]] = []
        fd = os.dup(self.fd)
        try:
            request = _NS_GET_USERNS
            while True:
                try:
                    outer = fcntl.ioctl(fd, request)
                except PermissionError:  # the outermost one, or outside of ours
                    return frozenset(found)
                os.close(fd)
                fd = outer
                stat = os.fstat(fd)
                found.append((stat.st_dev, stat.st_ino))
                request = _NS_GET_PARENT
        finally:
            os.close(fd)

    def processes(self) -> list[int]:
        """The processes that live in this namespace, by their id as seen in our /proc."""
        found = []
        for pid in processes.ids():
            try:
                stat = os.stat(f"/proc/{pid}/ns/net")
            except OSError:  # ended meanwhile, or a kernel thread
                continue
            if (stat.st_dev, stat.st_ino) == self.identity:
                found.append(pid)
        return found


def cookie() -> int | None:
    """The cookie of the namespace that the calling thread is in; see Namespace.cookie."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        try:
            raw = probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        except OSError as error:
            if error.errno == errno.ENOPROTOOPT:
                return None
            raise
    return int.from_bytes(raw, sys.byteorder)


def boot_id() -> str:
    """The kernel's id of this boot. It is recorded with cookies, which begin anew at every boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def inhabited(ask: Callable[[Namespace], T]) -> Iterator[T]:
    """The result of `ask` for each network namespace that a process lives in."""
    seen = set()
    for pid in processes.ids():
        try:
            with Namespace.of_process(pid) as namespace:
                if namespace.identity not in seen:
                    seen.add(namespace.identity)
                    yield ask(namespace)
        except OSError:  # ended meanwhile, or a kernel thread
            continue


def pin(namespace: Namespace, path: Path) -> None:
    """Keep `namespace` alive by a bind mount at `path`, as `ip netns` does. `path` must not be pinned already.

    Raises OSError.
    """
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    _share(path.parent)
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o444))
    try:
        _mount(f"/proc/self/fd/{namespace.fd}", path, _MS_BIND)
    except OSError:
        path.unlink()
        raise


def unpin(path: Path) -> None:
    """Remove the pin at `path`. Already gone is success. Raises OSError."""
    while _libc.umount2(os.fsencode(path), _MNT_DETACH | _UMOUNT_NOFOLLOW) == 0:
        continue  # mounts may be stacked: remove all of them
    if (code := ctypes.get_errno()) not in {errno.EINVAL, errno.ENOENT}:
        raise OSError(code, os.strerror(code), str(path))
    path.unlink(missing_ok=True)


def remove_directory(directory: Path) -> None:
    """Remove the directory of pins if it is empty, and the mount on it that `pin` may have made."""
    with contextlib.suppress(OSError):
        if not any(directory.iterdir()):
            while _libc.umount2(os.fsencode(directory), _UMOUNT_NOFOLLOW) == 0:
                continue
            directory.rmdir()


def _enter(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"cannot enter the network namespace: {os.strerror(code)}")


def _mount(source: str, target: Path, flags: int) -> None:
    if _libc.mount(source.encode(), os.fsencode(target), b"none", flags, None) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"cannot mount: {os.strerror(code)}", str(target))


def _share(directory: Path) -> None:
    """Make `directory` a shared mount, so that pins show in other mount namespaces too (iproute2 does the same)."""
    try:
        _mount("", directory, _MS_SHARED | _MS_REC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        _mount(str(directory), directory, _MS_BIND | _MS_REC)
        _mount("", directory, _MS_SHARED | _MS_REC)
