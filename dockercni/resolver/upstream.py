"""Which servers are asked for names that are not ours, and which of them answer."""

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
OURS: Final = "127.0.0.11"  # of a container; asking that from its namespace would be asking ourselves
PORT: Final = 53
_SERVERS: Final = 3  # as many as the C library uses (resolv.conf(5))
_PAUSE: Final = 30.0  # seconds until a server that did not answer is tried again, beside another one
_FRESH: Final = 1.0  # seconds until the host's file is looked at again
_MOST: Final = 1 << 16  # bytes of that file


@dataclass(slots=True, eq=False)
class Server:
    """A server and whether it answers. `address` is for connect(2)."""

    family: int
    address: tuple[object, ...]
    again: float | None = None  # when one that does not answer is tried again; None: it answers, as far as we know

    def failed(self) -> None:
        """It has not answered: others are asked before it from now on."""
        self.again = time.monotonic() + _PAUSE

    def answered(self) -> None:
        """It has answered."""
        self.again = None

    def due(self) -> bool:
        """Whether one that does not answer is to be tried again now; says so once in a while."""
        if self.again is None or time.monotonic() < self.again:
            return False
        self.failed()
        return True


@dataclass(frozen=True, slots=True)
class Upstream:
    """The servers of one asker, in their order, and the namespace they are asked from; None: our own."""

    servers: tuple[Server, ...]
    namespace: Namespace | None = None

    def in_order(self) -> list[Server]:
        """Those that answer first, then the others; one that is alone may be asked twice."""
        ordered = sorted(self.servers, key=lambda server: server.again is not None)
        return ordered * 2 if len(ordered) == 1 else ordered

    def due(self) -> list[Server]:
        """Servers that are to be tried beside those that answer."""
        if all(server.again is not None for server in self.servers):
            return []
        return [server for server in self.servers if server.due()]

    def socket(self, server: Server, kind: socket.SocketKind) -> socket.socket:
        """A new socket for asking that server; connecting it gives it a random port. Raises OSError."""

        def opened() -> socket.socket:
            return socket.socket(server.family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

        return self.namespace.run(opened) if self.namespace else opened()


@dataclass(slots=True)
class HostServers:
    """The servers of this host, as its file says at the moment."""

    path: Path = HOST_FILE
    _upstream: Upstream = field(default_factory=lambda: Upstream(()))
    _seen: tuple[int, ...] = ()
    _until: float = 0.0

    def upstream(self) -> Upstream:
        """Whom to ask now."""
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
        """Without a server in the file, the C library asks the host itself (resolv.conf(5))."""
        try:
            with open(self.path, encoding="utf-8", errors="replace") as file:
                lines = [line.split() for line in file.read(_MOST).splitlines()]
        except OSError:
            lines = []
        return [words[1] for words in lines if words[:1] == ["nameserver"] and len(words) > 1] or ["127.0.0.1"]


def servers(addresses: Sequence[str], port: int = PORT) -> tuple[Server, ...]:
    """The servers of these addresses, as many as are asked; what is no address of a server is left out."""
    found = []
    for text in addresses:
        try:
            name = text.encode("ascii")  # a text would have Python load its tables for international names: 1 MiB
            known = socket.getaddrinfo(name, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            continue
        found += [Server(family, address) for family, _, _, _, address in known[:1]]
    return tuple(found[:_SERVERS])


def of_container(addresses: Sequence[str], namespace: Namespace) -> Upstream:
    """A container's own servers, asked from its namespace."""
    return Upstream(servers([text for text in addresses if text != OURS]), namespace)
