"""A question to one server, over UDP or TCP."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Final

from dockercni.resolver import wire
from dockercni.resolver.loop import READ, WRITE, Loop
from dockercni.resolver.upstream import Server

Heard = Callable[[bytes | None], None]


class Datagram:
    """A question over UDP. Raises OSError if it cannot be sent."""

    KIND: Final = socket.SOCK_DGRAM

    def __init__(self, loop: Loop, made: socket.socket, server: Server, message: bytes) -> None:
        made.connect(server.address)
        made.send(message)
        self._loop = loop
        self._socket = made

    def listen(self, heard: Heard) -> None:
        """Call `heard` with each message that comes, and with None if the server's host refuses."""

        def ready() -> None:
            try:
                data = self._socket.recv(wire.LONGEST)
            except BlockingIOError:  # the packet had a wrong checksum
                return
            except OSError:
                heard(None)
            else:
                heard(data)

        self._loop.add(self._socket.fileno(), ready)

    def close(self) -> None:
        """Close the socket."""
        self._loop.remove(self._socket.fileno())
        self._socket.close()


class Stream:
    """A question over TCP. Raises OSError if there is no route to the server."""

    KIND: Final = socket.SOCK_STREAM

    def __init__(self, loop: Loop, made: socket.socket, server: Server, message: bytes) -> None:
        code = made.connect_ex(server.address)
        if code not in {0, errno.EINPROGRESS}:
            raise OSError(code, os.strerror(code))
        self._loop = loop
        self._socket = made
        self._unsent = framed(message)
        self._received = b""

    def listen(self, heard: Heard) -> None:
        """Call `heard` with the message that comes, and with None if the connection fails or ends."""

        def ready() -> None:
            try:
                if self._unsent:
                    self._unsent = self._unsent[self._socket.send(self._unsent) :]
                    if not self._unsent:
                        self._loop.change(self._socket.fileno(), READ)
                    return
                data = self._socket.recv(wire.LONGEST)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            self._received += data
            message, _ = unframed(self._received)
            if message is not None:
                self._received = b""
                heard(message)
            elif not data:
                heard(None)

        self._loop.add(self._socket.fileno(), ready, WRITE)

    def close(self) -> None:
        """Close the socket."""
        self._loop.remove(self._socket.fileno())
        self._socket.close()


def framed(message: bytes) -> bytes:
    """A message with its length before it, as TCP needs (RFC 1035, 4.2.2)."""
    return len(message).to_bytes(2, "big") + message


def unframed(data: bytes) -> tuple[bytes | None, bytes]:
    """The first complete message of a stream, and the rest; None while it is incomplete."""
    end = 2 + int.from_bytes(data[:2], "big")
    if len(data) < max(end, 2):
        return None, data
    return data[2:end], data[end:]
