"""The messages between gate and daemon: JSON datagrams on a Unix socket, some with descriptors.

Gate and daemon may be of different versions: names and fields only change together with PROTOCOL.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

import msgspec

PROTOCOL: Final = 1  # a daemon replaces a gate that speaks another one
ALIVE: Final = 1.0  # seconds between two signs of life of the gate
MAX_BYTES: Final = 1 << 16  # of one message
_ROOM: Final = 2 << 20  # bytes that may be unread; the default is full after 170 starts, and a host may have more
_SO_SNDBUFFORCE: Final = 32
SOCKET: Final = "gate.sock"  # in the run directory, which only root may enter


class Message(msgspec.Struct, frozen=True, tag=True, tag_field="say"):
    """The base of all messages."""


class Serve(Message, frozen=True):
    """From the daemon, as its first message: find and hold the containers of that engine, by these settings.

    They are valid until the next Serve, even while no daemon is connected.
    """

    root: str
    engine: str
    state_dir: str
    hold: float
    on_failure: str
    attach: str
    trust_image_labels: bool
    may_hold: bool


class Go(Message, frozen=True):
    """From the daemon: release that start."""

    start: int


class Kill(Message, frozen=True):
    """From the daemon: kill what is held; `words` become the last line of its stderr."""

    start: int
    words: str


class TryAgain(Message, frozen=True, tag="Retry"):
    """From the daemon: try again now to watch the cgroups."""


class Served(Message, frozen=True):
    """From a command: that container has its network. Releases it if no daemon is connected that decides."""

    container_id: str


class Leave(Message, frozen=True):
    """From a command: stop watching, release everything, end. From the daemon: end if nothing is held."""


class Hello(Message, frozen=True):
    """From the gate, as its first message."""

    protocol: int
    version: str


class Started(Message, frozen=True):
    """From the gate: a container is being started. Descriptors: its network namespace, its cgroup's directory.

    `since` is when its cgroup appeared (seconds of CLOCK_MONOTONIC), `pid` a process of it, `seconds` and `kill` are
    the limit. The other fields are the state of its hold, if it has one.
    """

    start: int
    container_id: str
    cgroup: str
    pid: int
    since: float
    seconds: float
    kill: bool
    has_hold: bool
    stopped: bool = False
    over: str = ""
    held: float = 0.0


class Changed(Message, frozen=True):
    """From the gate: the new state of a start's hold."""

    start: int
    stopped: bool
    over: str
    held: float


class Ended(Message, frozen=True):
    """From the gate: the cgroup of a container was removed."""

    container_id: str
    cgroup: str


class Missed(Message, frozen=True):
    """From the gate: a container's program runs and could not be held."""

    container_id: str
    reason: str


class Watching(Message, frozen=True):
    """From the gate: why it cannot watch the cgroups; "" if it watches them."""

    problem: str


class Down(Message, frozen=True):
    """From the gate: its threads that an exception ended and that are not restarted yet, each with the reason."""

    threads: dict[str, str]


class Said(Message, frozen=True):
    """From the gate: an event for the log."""

    level: str
    event: str
    fields: dict[str, str]


class Alive(Message, frozen=True):
    """From the gate: a sign of life, after a second without another message."""


ToGate = Serve | Go | Kill | TryAgain | Served | Leave
ToDaemon = Hello | Started | Changed | Ended | Missed | Watching | Down | Said | Alive

# msgspec prepares a type at its first use, and crashes where two threads cause that at once: so it happens here
encoded = msgspec.json.Encoder().encode
_to_gate = msgspec.json.Decoder(ToGate)
_to_daemon = msgspec.json.Decoder(ToDaemon)


def widen(link: socket.socket) -> None:
    """Enlarge its buffer for messages that the other side has not read yet, as far as the kernel allows."""
    with contextlib.suppress(OSError):
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
        link.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _ROOM)


def send(link: socket.socket, message: Message, *fds: int) -> None:
    """Send a message without waiting. Raises OSError; EAGAIN where the other side does not read."""
    socket.send_fds(link, [encoded(message)], fds, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def for_gate(link: socket.socket) -> ToGate | None:
    """The daemon's next message; None when it is gone. Raises OSError; ValueError for anything else than a message."""
    try:
        data = link.recv(MAX_BYTES)
    except ConnectionResetError:  # it left messages of ours unread; its own last ones can still be read
        data = link.recv(MAX_BYTES)
    return _to_gate.decode(data) if data else None


def for_daemon(link: socket.socket) -> tuple[ToDaemon, list[int]] | None:
    """The gate's next message and its descriptors; None when it is gone. Raises OSError, ValueError."""
    data, fds, _, _ = socket.recv_fds(link, MAX_BYTES, 2, socket.MSG_CMSG_CLOEXEC)
    if not data:
        return None
    try:
        return _to_daemon.decode(data), fds
    except ValueError:  # msgspec's DecodeError, or UnicodeDecodeError
        for fd in fds:
            os.close(fd)
        raise
