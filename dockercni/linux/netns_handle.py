"""What it takes to work on another network namespace without living in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dockercni.linux.netlink import Netlink
from dockercni.linux.netns import Namespace
from dockercni.linux.sysctl import Settings


@dataclass(frozen=True, slots=True)
class NetnsHandle:
    """A namespace's netlink socket and the settings of its links, for the thread that asked for them."""

    netlink: Netlink
    settings: Settings


@contextmanager
def inside(namespace: Namespace) -> Iterator[NetnsHandle]:
    """Open both in one visit to `namespace`. Raises OSError."""
    opened = namespace.run(lambda: NetnsHandle(Netlink(), Settings()))
    try:
        yield opened
    finally:
        opened.netlink.close()
        opened.settings.close()
