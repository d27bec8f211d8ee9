"""Which addresses the network namespace of this program uses already: its routes and its own addresses."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from dockercni.linux import addr, links
from dockercni.linux.netlink import Netlink

_LINK_LOCAL: Final = IPv6Network("fe80::/10")  # every link has its own


def networks(besides: Collection[str] = ()) -> list[IPv4Network | IPv6Network]:
    """The destinations of all routing tables, without default routes and those over links that are in `besides`.

    All tables: a VPN keeps its routes in one of its own, and the table `local` holds the host's addresses.
    Raises OSError.
    """
    with Netlink() as host:
        skipped = {link.index for link in links.every(host) if link.name in besides}
        routes = [route for version in (4, 6) for route in addr.routes(host, version, every_table=True)]
    found = dict.fromkeys(route.dst for route in routes if route.dst.prefixlen and route.link not in skipped)
    return [network for network in found if not (network.is_multicast or _is_link_local(network))]


def link_names() -> set[str]:
    """The names of all links. Raises OSError."""
    with Netlink() as host:
        return {link.name for link in links.every(host)}


def _is_link_local(network: IPv4Network | IPv6Network) -> bool:
    return isinstance(network, IPv6Network) and network.subnet_of(_LINK_LOCAL)
