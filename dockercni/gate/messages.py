"""The messages between gate and daemon.

Gate and daemon may be of different versions: names and fields only change together with PROTOCOL.
"""

from __future__ import annotations

from typing import Final

import msgspec

from dockercni.companions.link import Message

PROTOCOL: Final = 1  # a daemon replaces a gate that speaks another one
ALIVE: Final = 1.0  # seconds between two signs of life of the gate
SOCKET: Final = "gate.sock"  # in the run directory, which only root may enter


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
to_gate: Final = msgspec.json.Decoder(ToGate)
to_daemon: Final = msgspec.json.Decoder(ToDaemon)
