"""The DNS servers to which questions are forwarded, and which of them answer."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dockercni.linux.netns import Namespace

HOST_FILE: Final = Path("/etc/resolv.conf")
OURS: Final = "127.0.0.11"  # where containers reach the resolver; never forwarded to from a container's namespace
PORT: Final = 53
_SERVERS: Final = 3  # as many as the C library uses (resolv.conf(5))
_PAUSE: Final = 30.0  # seconds until a server that did not answer gets a question again
_FRESH: Final = 1.0  # seconds between two looks at the host's file
_MOST: Final = 1 << 16  # bytes of that file


@dataclass(slots=True, eq=False)
class Server:
    """One server. `address` is for connect(2)."""

    family: int
    address: tuple[object, ...]
    again: float | None = None  # None while it answers; else the time (monotonic) of the next try

    def failed(self) -> None:
        """It did not answer in time: others come first from now on."""
        self.again = time.monotonic() + _PAUSE

    def answered(self) -> None:
        """It answered."""
        self.again = None

    def due(self) -> bool:
        """Whether it is time to try a failed server again. True once per pause."""
        if self.again is None or time.monotonic() < self.again:
            return False
        self.failed()
        return True


@dataclass(frozen=True, slots=True)
class Upstream:
    """Servers in their order, and the namespace to ask them from; None is the resolver's own."""

    servers: tuple[Server, ...]
    namespace: Namespace | None = None

    def in_order(self) -> list[Server]:
        """The order in which to ask: working servers first. A single server is asked twice, as a packet may be lost."""
        ordered = sorted(self.servers, key=lambda server: server.again is not None)
        return ordered * 2 if len(ordered) == 1 else ordered

    def due(self) -> list[Server]:
        """Failed servers to be tried again, in addition to the one that is asked. None while all have failed."""
        if all(server.again is not None for server in self.servers):
            return []
        return [server for server in self.servers if server.due()]

    def socket(self, server: Server, kind: socket.SocketKind) -> socket.socket:
        """A new socket in the right namespace; its port is random, as the kernel chooses it. Raises OSError."""

        def opened() -> socket.socket:
            return socket.socket(server.family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

        return self.namespace.run(opened) if self.namespace else opened()


@dataclass(slots=True)
class HostServers:
    """The servers of the host, from its resolv.conf, which is read again whenever it changes."""

    path: Path = HOST_FILE
    _upstream: Upstream = field(default_factory=lambda: Upstream(()))
    _seen: tuple[int, ...] = ()
    _until: float = 0.0

    def upstream(self) -> Upstream:
        """The present servers."""
        now = time.monotonic()
        if now >= self._until:
            self._until = now + _FRESH
            seen = self._state()
            if seen != self._seen:
                self._seen = seen
                self._upstream = Upstream(servers(self._addresses()))
        return self._upstream

    def _state(self) -> tuple[int, ...]:
        try:
            found = os.stat(self.path)
        except OSError:
            return (0,)
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size

    def _addresses(self) -> list[str]:
        """The addresses in the file; without any, the host itself, as the C library does (resolv.conf(5))."""
        try:
            with open(self.path, encoding="utf-8", errors="replace") as file:
                lines = [line.split() for line in file.read(_MOST).splitlines()]
        except OSError:
            lines = []
        return [words[1] for words in lines if words[:1] == ["nameserver"] and len(words) > 1] or ["127.0.0.1"]


def servers(addresses: Sequence[str], port: int = PORT) -> tuple[Server, ...]:
    """The servers with these addresses, at most three. Anything that is no address is left out."""
    found = []
    for text in addresses:
        try:
            name = text.encode("ascii")  # for a str, Python loads its tables of international names (1 MiB)
            known = socket.getaddrinfo(name, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            continue
        found += [Server(family, address) for family, _, _, _, address in known[:1]]
    return tuple(found[:_SERVERS])


def of_container(addresses: Sequence[str], namespace: Namespace) -> Upstream:
    """A container's own servers, to be asked from its namespace."""
    return Upstream(servers([text for text in addresses if text != OURS]), namespace)
