"""The messages between resolver and daemon.

Both sides hold the complete state, names and sockets, and send it to each other when they connect. So the resolver
serves on with it while there is no daemon, and a new resolver gets it from the daemon.
"""

from __future__ import annotations

from typing import Final

import msgspec

from dockercni.companions.link import Message

PROTOCOL: Final = 1  # a daemon replaces a resolver that speaks another one
ALIVE: Final = 1.0  # seconds between two signs of life of the resolver
SOCKET: Final = "resolver.sock"  # in the run directory, which only root may enter


class OnNetwork(msgspec.Struct, frozen=True):
    """A container on one network: its addresses there, and the names that only this network knows."""

    network: str
    addresses: list[str]
    aliases: list[str] = msgspec.field(default_factory=list)


class Serve(Message, frozen=True):
    """From the daemon, as its first message. Containers that it does not send before Complete are removed then."""


class Names(Message, frozen=True):
    """From either side: a container's names, addresses and DNS servers, in place of earlier ones.

    The first of `names` is the container's own. Askers of the same Compose `project` know it as `service`, too. The
    container's questions about other names go to `servers`, from its namespace; without any, to the host's servers.
    """

    id: str
    names: list[str]
    networks: list[OnNetwork]
    project: str = ""
    service: str = ""
    servers: list[str] = msgspec.field(default_factory=list)


class Listen(Message, frozen=True):
    """From either side: the sockets by which that container asks.

    Descriptors: a bound UDP socket, a listening TCP socket, the container's network namespace.
    """

    id: str


class Remove(Message, frozen=True):
    """From the daemon: forget that container and close its sockets."""

    id: str


class Complete(Message, frozen=True):
    """From either side: the complete state was sent."""


class Leave(Message, frozen=True):
    """From the daemon: end now."""


class Hello(Message, frozen=True):
    """From the resolver, as its first message; its state follows."""

    protocol: int
    version: str


class Said(Message, frozen=True):
    """From the resolver: an event for the log."""

    level: str
    event: str
    fields: dict[str, str]


class Alive(Message, frozen=True):
    """From the resolver: a sign of life, after a second without another message."""


ToResolver = Serve | Names | Listen | Remove | Complete | Leave
ToDaemon = Hello | Names | Listen | Complete | Said | Alive

# msgspec prepares a type at its first use, and crashes where two threads cause that at once: so it happens here
to_resolver: Final = msgspec.json.Decoder(ToResolver)
to_daemon: Final = msgspec.json.Decoder(ToDaemon)
