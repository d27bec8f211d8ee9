"""LinkSysctls below /proc/sys/net, of this namespace or of another one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

ROOT: Final = "/proc/sys"
_LIMIT: Final = 4096
# Whoever writes disable_ipv6 or forwarding while somebody else changes links does not sleep but tries again and again
# (restart_syscall): several of us who do that leave nothing of a small machine to the one they wait for.
# Measured while fifty containers started on two cores: eight such threads kept both busy for 10 to 60 s, and nothing
# else ran (4,144 of 4,156 samples of perf). So one thread writes at a time, and ports of a bridge are kept from IPv6 by
# netlink instead.
turn: Final = threading.Lock()


class LinkSysctls:
    """The settings of each link (net/ipv4/conf, net/ipv6/conf) in the namespace of the thread that opens it.

    The two directories are held open: whoever looks below them, from whichever namespace, sees those of that one.
    Names are relative to net/, such as "ipv4/conf/eth0/arp_notify". A context manager. Methods raise OSError, which is
    FileNotFoundError where the kernel has no IPv6 or the link is gone.
    """

    def __init__(self) -> None:
        self._directories = {family: _directory(f"{ROOT}/net/{family}/conf") for family in ("ipv4", "ipv6")}

    def close(self) -> None:
        """Let the directories go."""
        for fd in self._directories.values():
            if fd is not None:
                os.close(fd)

    def read(self, name: str) -> str:
        """The value, without the end of the line."""
        with self._open(name, os.O_RDONLY) as fd:
            return os.read(fd, _LIMIT).decode().strip()

    def write(self, name: str, value: str) -> None:
        """Write `value`, whatever is there."""
        with self._open(name, os.O_WRONLY) as fd, turn:
            os.write(fd, value.encode())

    def _open(self, name: str, mode: int) -> AbstractContextManager[int]:
        family, _, rest = name.partition("/conf/")
        directory = self._directories[family]
        if directory is None:
            raise FileNotFoundError(f"no net/{name}")
        return _opened(rest, mode, directory)


def read(name: str) -> str:
    """The value of a setting such as "net/ipv4/ip_forward" in the namespace of this thread. Raises OSError."""
    with _opened(f"{ROOT}/{name}", os.O_RDONLY) as fd:
        return os.read(fd, _LIMIT).decode().strip()


def write(name: str, value: str) -> None:
    """See to it that the setting has `value`; it is written only if it has not. Raises OSError."""
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
