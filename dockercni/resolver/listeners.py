"""The sockets by which one container asks: one for datagrams, one for connections, and these."""

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

_AT_ONCE: Final = 16  # datagrams of one container, then it is another one's turn
_MOST: Final = 4096  # bytes of a question
_CONNECTIONS: Final = 32  # of one container
_IDLE: Final = 10.0  # seconds
_UNREAD: Final = 4 * wire.LONGEST  # bytes of answers that an asker may leave unread
_PAUSE: Final = 0.1  # seconds without new connections where no descriptor is left

Serve = Callable[[bytes, Reply, bool], None]  # a question, whom to tell the answer, whether it came over TCP


class Listeners:
    """One container's sockets, served until they are closed; `serve` is called with each question."""

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
        """Whether these are the same sockets of the kernel, whichever descriptors stand for them."""
        return self._inodes() == other._inodes()

    def _inodes(self) -> list[int]:
        return [os.fstat(each.fileno()).st_ino for each in (self._udp, self._tcp)]

    @property
    def fds(self) -> tuple[int, int, int]:
        """The descriptors that another process needs to serve in our place."""
        return self._udp.fileno(), self._tcp.fileno(), self.namespace.fd

    def close(self) -> None:
        """Close all of them, the namespace's descriptor as well."""
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
            except OSError:  # none any more
                return
            self._serve(message, partial(self._answer, asker), False)

    def _answer(self, asker: tuple[str, int], response: bytes) -> None:
        if response:
            with contextlib.suppress(OSError):  # closed meanwhile, or no room: the asker asks again
                self._udp.sendto(response, asker)

    def _connection(self) -> None:
        try:
            made, _ = self._tcp.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor is left: it stays ready meanwhile, which must not keep us busy
            self._loop.change(self._tcp.fileno(), 0)
            self._loop.later(_PAUSE, self._accept_again)
            return
        if len(self._connections) >= _CONNECTIONS:
            made.close()
            return
        made.setblocking(False)
        self._connections.add(_Connection(self._loop, made, self._serve, self._connections.discard))

    def _accept_again(self) -> None:
        if self._tcp.fileno() >= 0:
            self._loop.change(self._tcp.fileno(), READ)


class _Connection:
    """One connection: its questions are answered as soon as each can be (RFC 7766), until it is idle or closed."""

    def __init__(self, loop: Loop, made: socket.socket, serve: Serve, closed: Callable[[_Connection], None]) -> None:
        self._loop = loop
        self._socket = made
        self._serve = serve
        self._closed = closed
        self._received = b""
        self._unsent = b""
        self._waiting = 0  # questions without an answer so far
        self._ended = False  # no more questions will come
        self._used = time.monotonic()
        loop.add(made.fileno(), self._ready)
        loop.later(_IDLE, self._look)

    def close(self) -> None:
        """Close it; answers that come later are nobody's."""
        if self._socket.fileno() >= 0:
            self._loop.remove(self._socket.fileno())
            self._socket.close()
            self._closed(self)

    def _ready(self) -> None:
        if self._unsent:
            self._flush()
        elif self._ended:  # only its end is left to be told
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
        """Wait for what is to come, or close it if there is nothing."""
        if self._socket.fileno() < 0:
            return
        if len(self._unsent) > _UNREAD or (self._ended and not self._unsent and not self._waiting):
            self.close()
            return
        events = (0 if self._ended else READ) | (WRITE if self._unsent else 0)
        self._loop.change(self._socket.fileno(), events)

    def _look(self) -> None:
        """Close it if it is idle, else look again later."""
        if self._socket.fileno() < 0:
            return
        left = self._used + _IDLE - time.monotonic()
        if left <= 0:
            self.close()
        else:
            self._loop.later(left, self._look)
