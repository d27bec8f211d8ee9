"""The sockets by which one container asks: UDP, TCP, and the TCP connections."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from dockercni.linux.netns import Namespace
from dockercni.resolver import wire
from dockercni.resolver.exchange import framed, unframed
from dockercni.resolver.forward import Reply
from dockercni.resolver.loop import READ, WRITE, Loop

_AT_ONCE: Final = 16  # datagrams of one container before the next container's turn
_MOST: Final = 4096  # bytes of a question
_CONNECTIONS: Final = 32  # of one container at a time
_IDLE: Final = 10.0  # seconds until a silent connection is closed
_UNREAD: Final = 4 * wire.LONGEST  # bytes of unread answers until a connection is closed
_PAUSE: Final = 0.1  # seconds without new connections when no descriptor is left

Serve = Callable[[bytes, Reply, bool], None]  # a question, where its answer goes, whether it came over TCP


class Listeners:
    """One container's sockets. Calls `serve` with each question; takes over the descriptors."""

    def __init__(self, loop: Loop, udp: int, tcp: int, namespace: Namespace, serve: Serve) -> None:
        self.namespace = namespace
        self._loop = loop
        self._udp = socket.socket(fileno=udp)
        self._tcp = socket.socket(fileno=tcp)
        self._serve = serve
        self._connections: set[_Connection] = set()
        for each in (self._udp, self._tcp):
            each.setblocking(False)
        loop.add(udp, self._datagrams)
        loop.add(tcp, self._connection)

    def same(self, other: Listeners) -> bool:
        """Whether both have descriptors of the same sockets."""
        return self._inodes() == other._inodes()

    def _inodes(self) -> list[int]:
        return [os.fstat(each.fileno()).st_ino for each in (self._udp, self._tcp)]

    @property
    def fds(self) -> tuple[int, int, int]:
        """The descriptors of UDP socket, TCP socket and namespace."""
        return self._udp.fileno(), self._tcp.fileno(), self.namespace.fd

    def close(self) -> None:
        """Close all sockets and the namespace's descriptor."""
        for each in (self._udp, self._tcp):
            self._loop.remove(each.fileno())
            each.close()
        for connection in list(self._connections):
            connection.close()
        os.close(self.namespace.fd)

    def _datagrams(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                message, asker = self._udp.recvfrom(_MOST)
            except OSError:  # no more questions
                return
            self._serve(message, partial(self._answer, asker), False)

    def _answer(self, asker: tuple[str, int], response: bytes) -> None:
        if response:
            with contextlib.suppress(OSError):  # closed meanwhile, or no buffer: the asker repeats its question
                self._udp.sendto(response, asker)

    def _connection(self) -> None:
        try:
            made, _ = self._tcp.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor is left
            self._loop.pause(self._tcp.fileno(), _PAUSE)
            return
        if len(self._connections) >= _CONNECTIONS:
            made.close()
            return
        made.setblocking(False)
        self._connections.add(_Connection(self._loop, made, self._serve, self._connections.discard))


class _Connection:
    """One connection. Its questions may be answered out of order (RFC 7766)."""

    def __init__(self, loop: Loop, made: socket.socket, serve: Serve, closed: Callable[[_Connection], None]) -> None:
        self._loop = loop
        self._socket = made
        self._serve = serve
        self._closed = closed
        self._received = b""
        self._unsent = b""
        self._waiting = 0  # questions that are not answered yet
        self._ended = False  # the asker sends no more questions
        self._used = time.monotonic()
        loop.add(made.fileno(), self._ready)
        loop.later(_IDLE, self._look)

    def close(self) -> None:
        """Close it; later answers are dropped."""
        if self._socket.fileno() >= 0:
            self._loop.remove(self._socket.fileno())
            self._socket.close()
            self._closed(self)

    def _ready(self) -> None:
        if self._unsent:
            self._flush()
        elif self._ended:  # woken for nothing but the connection's end
            self.close()
        if self._ended or self._socket.fileno() < 0:
            self._settle()
            return
        try:
            data = self._socket.recv(_MOST)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._used = time.monotonic()
        self._ended = not data
        self._received += data
        while self._socket.fileno() >= 0:
            message, self._received = unframed(self._received)
            if message is None:
                break
            self._waiting += 1
            self._serve(message, self._answer, True)
        self._settle()

    def _answer(self, response: bytes) -> None:
        self._waiting -= 1
        if self._socket.fileno() < 0:
            return
        if response:
            self._unsent += framed(response)
        self._flush()
        self._settle()

    def _flush(self) -> None:
        if not self._unsent:
            return
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def _settle(self) -> None:
        """Wait for what can still come, or close it."""
        if self._socket.fileno() < 0:
            return
        if len(self._unsent) > _UNREAD or (self._ended and not self._unsent and not self._waiting):
            self.close()
            return
        events = (0 if self._ended else READ) | (WRITE if self._unsent else 0)
        self._loop.change(self._socket.fileno(), events)

    def _look(self) -> None:
        """Close it if it is idle, or check again later."""
        if self._socket.fileno() < 0:
            return
        left = self._used + _IDLE - time.monotonic()
        if left <= 0:
            self.close()
        else:
            self._loop.later(left, self._look)
