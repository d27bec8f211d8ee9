"""What a network namespace holds: its links, addresses and routes, cheap enough to be asked for every container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Self

from dockercni.linux import addr, links
from dockercni.linux.links import Link
from dockercni.linux.netlink import Netlink
from dockercni.linux.netns import Namespace, cookie

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class NetnsState:
    """The links by name, the addresses of each link, and each route's destination (default routes too) and table.

    `cookie` is the namespace's own: see Namespace.cookie.
    """

    links: Mapping[str, Link] = field(default_factory=dict)
    addresses: frozenset[tuple[str, IPAddress]] = frozenset()
    routes: frozenset[tuple[IPNetwork, int]] = frozenset()
    cookie: int | None = None

    @classmethod
    def read(cls, namespace: Namespace) -> Self:
        """Look into the namespace. Raises OSError."""
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
