"""A connection between the daemon and a companion: JSON datagrams on a Unix socket, some with descriptors."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final, TypeVar

import msgspec

T = TypeVar("T")

MAX_BYTES: Final = 1 << 16  # of one message
_MAX_FDS: Final = 3  # beside one message
_ROOM: Final = 2 << 20  # bytes that may be unread; the default is full after 170 starts, and a host may have more
_SO_SNDBUFFORCE: Final = 32


class Message(msgspec.Struct, frozen=True, tag=True, tag_field="say"):
    """The base of all messages."""


# msgspec prepares a type at its first use, and crashes where two threads cause that at once: so it happens here
encoded = msgspec.json.Encoder().encode


def widen(link: socket.socket) -> None:
    """Enlarge its buffer for messages that the other side has not read yet, as far as the kernel allows."""
    with contextlib.suppress(OSError):
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
        link.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _ROOM)


def send(link: socket.socket, message: Message, *fds: int) -> None:
    """Send a message without waiting. Raises OSError; EAGAIN where the other side does not read."""
    socket.send_fds(link, [encoded(message)], fds, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def receive(link: socket.socket, decoder: msgspec.json.Decoder[T]) -> tuple[T, list[int]] | None:
    """The other side's next message and its descriptors; None when it is gone.

    Raises OSError; ValueError for anything else than a message.
    """
    try:
        data, fds, _, _ = socket.recv_fds(link, MAX_BYTES, _MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:  # it left messages of ours unread; its own last ones can still be read
        data, fds, _, _ = socket.recv_fds(link, MAX_BYTES, _MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    if not data:
        return None
    try:
        return decoder.decode(data), fds
    except ValueError:  # msgspec's DecodeError, or UnicodeDecodeError
        for fd in fds:
            os.close(fd)
        raise
