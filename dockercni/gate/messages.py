"""What gate and daemon say to each other: datagrams on a unix socket, JSON, with descriptors beside some of them."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

import msgspec

PROTOCOL: Final = 1  # a gate that speaks another one is sent away by a new daemon
ALIVE: Final = 1.0  # seconds from one sign of life of the gate to the next
MOST: Final = 1 << 16  # bytes of one message
_ROOM: Final = 2 << 20  # bytes of what is not read yet: by default 170 starts would fill it, and a host may have more
_SO_SNDBUFFORCE: Final = 32
SOCKET: Final = "gate.sock"  # below the run directory, which only root may enter


class Message(msgspec.Struct, frozen=True, tag=True, tag_field="say"):
    """Any of them."""


class Serve(Message, frozen=True):
    """From the daemon, first of all: find and hold the containers of that engine, by these settings.

    They hold until something else is said.
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
    """From the daemon: let that start go."""

    start: int


class Kill(Message, frozen=True):
    """From the daemon: kill what is held; `words` become the last ones of its stderr."""

    start: int
    words: str


class TryAgain(Message, frozen=True, tag="Retry"):
    """From the daemon: try again now what could not be watched."""


class Served(Message, frozen=True):
    """From a command: that container has its network, and may go, if there is no daemon that decides."""

    container_id: str


class Leave(Message, frozen=True):
    """From a command: watch no longer, let everything go, end. From the daemon: end if nothing is held."""


class Hello(Message, frozen=True):
    """From the gate, first of all."""

    protocol: int
    version: str


class Started(Message, frozen=True):
    """From the gate: a container is being started. Descriptors: its network namespace, its cgroup's directory.

    `since` is when its cgroup appeared (seconds of CLOCK_MONOTONIC), `pid` a process of it, `seconds` and `kill` are
    the limit. The rest says how far its hold is, if it has any.
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
    """From the gate: how far the hold of a start is now."""

    start: int
    stopped: bool
    over: str
    held: float


class Ended(Message, frozen=True):
    """From the gate: the cgroup of a container was removed."""

    container_id: str
    cgroup: str


class Missed(Message, frozen=True):
    """From the gate: a container's program runs, and could not be held."""

    container_id: str
    reason: str


class Watching(Message, frozen=True):
    """From the gate: it watches the cgroups, or why it cannot."""

    problem: str


class Down(Message, frozen=True):
    """From the gate: its threads that an exception has ended and that are not yet started anew, with the reasons."""

    threads: dict[str, str]


class Said(Message, frozen=True):
    """From the gate: an event for the log."""

    level: str
    event: str
    fields: dict[str, str]


class Alive(Message, frozen=True):
    """From the gate, when there was nothing else to say for a while."""


ToGate = Serve | Go | Kill | TryAgain | Served | Leave
ToDaemon = Hello | Started | Changed | Ended | Missed | Watching | Down | Said | Alive

# msgspec learns a type at its first use, and crashes if two threads make it do so at once: so it learns it here
encoded = msgspec.json.Encoder().encode
_to_gate = msgspec.json.Decoder(ToGate)
_to_daemon = msgspec.json.Decoder(ToDaemon)


def widen(link: socket.socket) -> None:
    """Have it take much before the other side has read any of it, as far as we may."""
    with contextlib.suppress(OSError):
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
        link.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _ROOM)


def send(link: socket.socket, message: Message, *fds: int) -> None:
    """Send it at once. Raises OSError, also where the other side does not read (EAGAIN)."""
    socket.send_fds(link, [encoded(message)], fds, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def for_gate(link: socket.socket) -> ToGate | None:
    """The daemon's next message; None when it is gone. Raises OSError, ValueError for what is no message."""
    try:
        data = link.recv(MOST)
    except ConnectionResetError:  # it left words of ours unread; its own last ones are there still
        data = link.recv(MOST)
    return _to_gate.decode(data) if data else None


def for_daemon(link: socket.socket) -> tuple[ToDaemon, list[int]] | None:
    """The gate's next message and its descriptors; None when it is gone. Raises OSError, ValueError."""
    data, fds, _, _ = socket.recv_fds(link, MOST, 2, socket.MSG_CMSG_CLOEXEC)
    if not data:
        return None
    try:
        return _to_daemon.decode(data), fds
    except ValueError:  # of msgspec, or for bytes that are no text
        for fd in fds:
            os.close(fd)
        raise
