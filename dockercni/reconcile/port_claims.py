"""Claims on ports of the host: held from finding a port free to recording that it is published.

One file for all, with a byte for each protocol and port, so a container with thousands of ports takes one descriptor.
The locks belong to the open file description (F_OFD_SETLK): threads of one process exclude each other, and the kernel
frees the locks of a process that died.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from dockercni.errors import LockHeld, LockUnusable
from dockercni.linux import processes

_PROTOCOLS: Final = ("tcp", "udp", "sctp")
_PORTS: Final = 1 << 16
_PAUSE: Final = 0.01  # seconds between two tries
_FLOCK: Final = struct.Struct("@hhqqi")  # fcntl(2), struct flock: type, whence, start, length, process
_FLOCK_SIZE: Final = struct.calcsize("@hhqqiq")  # with the padding at its end

Claim = tuple[str, int]  # protocol, port of the host


class Claims:
    """The claims of one ADD, held until the file is closed."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._path = path

    def wait(self, wanted: Iterable[Claim], deadline: float) -> None:
        """Claim all of these, waiting for other claims. Raises LockHeld, and LockUnusable for an impossible port.

        Locked in the order of the file, so that ADDs cannot deadlock.
        """
        for first, number in _ranges(sorted({_place(*each) for each in wanted})):
            while not self._lock(first, number):
                if time.monotonic() >= deadline:
                    protocol, port = _PROTOCOLS[first // _PORTS], first % _PORTS
                    ports = f"port {port}" if number == 1 else f"one of the ports {port}-{port + number - 1}"
                    raise LockHeld(f"{ports}/{protocol} of the host", self._holder(first, number))
                time.sleep(_PAUSE)

    def take(self, protocol: str, port: int) -> bool:
        """Claim this one, unless it is claimed already; whether that succeeded."""
        return self._lock(_place(protocol, port), 1)

    def _lock(self, first: int, number: int) -> bool:
        wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, first, number, 0).ljust(_FLOCK_SIZE, b"\0")
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, wanted)
        except (BlockingIOError, PermissionError):  # EAGAIN, EACCES
            return False
        except OSError as error:
            raise LockUnusable(f"cannot lock {self._path}: {error.strerror}") from error
        return True

    def _holder(self, first: int, number: int) -> str:
        pid = processes.locking(self._path, first, first + number - 1)
        return f"process {pid} ({processes.command_line(pid)})" if pid else "another process"


def _place(protocol: str, port: int) -> int:
    if protocol not in _PROTOCOLS or not 0 <= port < _PORTS:
        raise LockUnusable(f"cannot lock port {port}/{protocol!a} of the host: there is no such port")
    return _PROTOCOLS.index(protocol) * _PORTS + port


def _ranges(places: Iterable[int]) -> Iterator[tuple[int, int]]:
    """(First, number) of the runs of consecutive places, each of one protocol."""
    first = number = 0
    for place in places:
        if number and place == first + number and place % _PORTS:
            number += 1
            continue
        if number:
            yield first, number
        first, number = place, 1
    if number:
        yield first, number
