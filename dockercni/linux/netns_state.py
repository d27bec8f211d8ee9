"""What a network namespace contains: links, addresses and routes, read fast enough to be read for every container.

And the addresses of all namespaces of the machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Final, Self

from dockercni.linux import addr, capabilities, links, processes
from dockercni.linux.links import Link
from dockercni.linux.netlink import Netlink
from dockercni.linux.netns import Namespace, NamespaceGone, NotANamespace, cookie

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_MOUNTS: Final = Path("/proc/self/mountinfo")
_PINNED: Final = re.compile(rb"net:\[[0-9]+\]")
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class NetnsState:
    """The links by name, (link, address) pairs, and (destination, table) of each route; a default route's has length 0.

    `cookie` is that of Namespace.cookie.
    """

    links: Mapping[str, Link] = field(default_factory=dict)
    addresses: frozenset[tuple[str, IPAddress]] = frozenset()
    routes: frozenset[tuple[IPNetwork, int]] = frozenset()
    cookie: int | None = None

    @classmethod
    def read(cls, namespace: Namespace) -> Self:
        """Read it in one visit to the namespace. Raises OSError."""
        opened, number = namespace.run(lambda: (Netlink(), cookie()))
        with opened:
            found = {link.index: link for link in links.every(opened)}
            assigned = addr.every_address(opened)
            routes = [route for version in (4, 6) for route in addr.routes(opened, version, every_table=True)]
        return cls(
            links={link.name: link for link in found.values()},
            addresses=frozenset((found[index].name, address) for index, address in assigned if index in found),
            routes=frozenset((route.dst, route.table) for route in routes if route.table != addr.LOCAL),
            cookie=number,
        )


def addresses_everywhere() -> frozenset[IPAddress]:
    """All addresses of all network namespaces that a process lives in, or that a mount pins.

    Raises OSError if one of them cannot be read: an address that is in no other one may then still be in use.
    """
    found: set[IPAddress] = set()
    seen: set[tuple[int, int]] = set()
    for namespace in _namespaces():
        with namespace:
            if namespace.identity not in seen:
                seen.add(namespace.identity)
                found.update(address for _, address in NetnsState.read(namespace).addresses)
    return frozenset(found)


def _namespaces() -> Iterator[Namespace]:
    for pid in processes.ids():
        try:
            yield Namespace.of_process(pid)
        except NamespaceGone:
            continue
        except PermissionError:
            # Without the capability every foreign process is refused, so the result would be incomplete. With it
            # only a few are, such as the first process of a sandbox, and processes that have just ended.
            if "CAP_SYS_PTRACE" in capabilities.missing():
                raise
    for line in _MOUNTS.read_bytes().splitlines():
        _, _, _, root, point, *_ = line.split()
        if _PINNED.fullmatch(root):
            try:
                yield Namespace.open(os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), point)))
            except (NamespaceGone, NotANamespace):  # unmounted meanwhile, or something is mounted over it
                continue
