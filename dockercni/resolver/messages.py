"""What resolver and daemon say to each other.

Both know all of it, so that whoever is killed is told by the other: the resolver goes on with its sockets and names
until the next daemon comes, and a resolver that is started anew gets the sockets that the daemon has kept.
"""

from __future__ import annotations

from typing import Final

import msgspec

from dockercni.companions.link import Message

PROTOCOL: Final = 1  # a resolver that speaks another one is ended by a new daemon
ALIVE: Final = 1.0  # seconds from one sign of life of the resolver to the next
SOCKET: Final = "resolver.sock"  # below the run directory, which only root may enter


class On(msgspec.Struct, frozen=True):
    """A container on a network: its addresses there, and the names that it has there only."""

    network: str
    addresses: list[str]
    aliases: list[str] = msgspec.field(default_factory=list)


class Serve(Message, frozen=True):
    """From the daemon, first of all. What it does not name from then on, until Complete, is to go."""


class Known(Message, frozen=True):
    """From either side: what is known of a container from now on.

    `names` begins with the container's own; `service` is known to askers of the same Compose project. Its questions
    about other names go to `servers`, as seen from its namespace, or to the host's where that is empty.
    """

    id: str
    names: list[str]
    networks: list[On]
    project: str = ""
    service: str = ""
    servers: list[str] = msgspec.field(default_factory=list)


class Listen(Message, frozen=True):
    """From either side: questions of that container come by these sockets.

    Descriptors: bound for UDP, listening for TCP, and its network namespace.
    """

    id: str


class Remove(Message, frozen=True):
    """From the daemon: forget that container, and close its sockets."""

    id: str


class Complete(Message, frozen=True):
    """From either side: since Serve everything has been said that there is."""


class Leave(Message, frozen=True):
    """From the daemon: end now."""


class Hello(Message, frozen=True):
    """From the resolver, first of all; then it says all that it knows, and that it is complete."""

    protocol: int
    version: str


class Said(Message, frozen=True):
    """From the resolver: an event for the log."""

    level: str
    event: str
    fields: dict[str, str]


class Alive(Message, frozen=True):
    """From the resolver, when there was nothing else to say for a while."""


ToResolver = Serve | Known | Listen | Remove | Complete | Leave
ToDaemon = Hello | Known | Listen | Complete | Said | Alive

# msgspec learns a type at its first use, and crashes if two threads make it do so at once: so it learns it here
to_resolver: Final = msgspec.json.Decoder(ToResolver)
to_daemon: Final = msgspec.json.Decoder(ToDaemon)
