"""Sysctls below /proc/sys/net, of this namespace or of another one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

ROOT: Final = "/proc/sys"
_LIMIT: Final = 4096
# Writing disable_ipv6 or forwarding tries RTNL and restarts the system call if another thread holds it
# (restart_syscall), so it spins. Writers take turns, or several of them starve RTNL's holder on a small machine.
# Measured while fifty containers started on two cores: eight such threads kept both busy for 10 to 60 s, and nothing
# else ran (4,144 of 4,156 samples of perf). So netlink, and not this sysctl, keeps IPv6 from the ports of a bridge.
turn: Final = threading.Lock()


class LinkSysctls:
    """The sysctls of each link (net/ipv4/conf, net/ipv6/conf) in the namespace of the thread that opens them.

    The two directories are held open, and show that namespace to threads of any other. Names are relative to net/, such
    as "ipv4/conf/eth0/arp_notify". Methods raise OSError; FileNotFoundError where the kernel has no IPv6 or the link is
    gone.
    """

    def __init__(self) -> None:
        self._directories = {family: _directory(f"{ROOT}/net/{family}/conf") for family in ("ipv4", "ipv6")}

    def close(self) -> None:
        """Close the directories."""
        for fd in self._directories.values():
            if fd is not None:
                os.close(fd)

    def read(self, name: str) -> str:
        """The value, without the end of the line."""
        with self._open(name, os.O_RDONLY) as fd:
            return os.read(fd, _LIMIT).decode().strip()

    def write(self, name: str, value: str) -> None:
        """Write `value`, without reading the present one."""
        with self._open(name, os.O_WRONLY) as fd, turn:
            os.write(fd, value.encode())

    def _open(self, name: str, mode: int) -> AbstractContextManager[int]:
        family, _, rest = name.partition("/conf/")
        directory = self._directories[family]
        if directory is None:
            raise FileNotFoundError(f"no net/{name}")
        return _opened(rest, mode, directory)


def read(name: str) -> str:
    """The value of a sysctl such as "net/ipv4/ip_forward" in the namespace of this thread. Raises OSError."""
    with _opened(f"{ROOT}/{name}", os.O_RDONLY) as fd:
        return os.read(fd, _LIMIT).decode().strip()


def write(name: str, value: str) -> None:
    """Set a sysctl to `value`, unless it has that value. Raises OSError."""
    if read(name) != value:
        with _opened(f"{ROOT}/{name}", os.O_WRONLY) as fd, turn:
            os.write(fd, value.encode())


@contextmanager
def _opened(path: str, mode: int, directory: int | None = None) -> Iterator[int]:
    fd = os.open(path, mode | os.O_CLOEXEC, dir_fd=directory)
    try:
        yield fd
    finally:
        os.close(fd)


def _directory(path: str) -> int | None:
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
