"""Links and used subnets of the network namespace that the program itself runs in."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection
from ipaddress import IPv4Network, IPv6Network
from typing import Final, NamedTuple

from dockercni.linux import addr, links
from dockercni.linux.netlink import Netlink

_IFNAMSIZ: Final = 16
_LINK_LOCAL: Final = IPv6Network("fe80::/10")  # every link has its own
_HARDWARE: Final = ("", "bond", "team", "vlan")  # the kernel names no kind for what is not made of software


class RoutedLinks(NamedTuple):
    """The names of the host's links that packets are routed over, and of those with other machines behind them."""

    routed: frozenset[str]
    shared: frozenset[str]


def routed_links() -> RoutedLinks:
    """The host's links that are no ports of a bridge and no hardware.

    Other machines are behind a link over which a gateway is reached, and behind a bridge with hardware among its ports.
    """
    with Netlink() as netlink:
        every = links.every(netlink)
        gateways = {route.link for version in (4, 6) for route in addr.routes(netlink, version) if route.gateway}
    outward = gateways | {link.master for link in every if link.kind in _HARDWARE}
    routed = [link for link in every if _routed(link) and (link.kind == "bridge" or link.index not in gateways)]
    return RoutedLinks(
        frozenset(link.name for link in routed),
        frozenset(link.name for link in routed if link.index in outward),
    )


def used_subnets(besides: Collection[str] = ()) -> list[IPv4Network | IPv6Network]:
    """The destinations of all routing tables, without default routes and those over links that are in `besides`.

    All tables: a VPN keeps its routes in one of its own, and the table `local` holds the host's addresses.
    Raises OSError.
    """
    with Netlink() as netlink:
        skipped = {link.index for link in links.every(netlink) if link.name in besides}
        routes = [route for version in (4, 6) for route in addr.routes(netlink, version, every_table=True)]
    found = dict.fromkeys(route.dst for route in routes if route.dst.prefixlen and route.link not in skipped)
    return [network for network in found if not (network.is_multicast or _is_link_local(network))]


def names() -> set[str]:
    """The names of all links. Raises OSError."""
    with Netlink() as netlink:
        return {link.name for link in links.every(netlink)}


def _is_link_local(network: IPv4Network | IPv6Network) -> bool:
    return isinstance(network, IPv6Network) and network.subnet_of(_LINK_LOCAL)


def routed(name: str) -> bool:
    """Whether there is a link `name` that packets are routed over."""
    if not _possible(name):
        return False
    with Netlink() as netlink:
        link = links.find(netlink, name)
        return link is not None and _routed(link)


def _routed(link: links.Link) -> bool:
    return not link.master and link.kind != ""


def is_bridge(name: str) -> bool:
    """Whether there is a link `name` and it is a bridge."""
    return bridge_mtu(name) is not None


def bridge_mtu(name: str) -> int | None:
    """The MTU of the bridge `name`; None if there is no such bridge."""
    if not _possible(name):
        return None
    with Netlink() as netlink:
        link = links.find(netlink, name)
        return link.mtu if link and link.kind == "bridge" else None


def has_ports(bridge: str, *, besides: int = 0) -> bool:
    """Whether more than `besides` links have `bridge` as their master; False when there is no such bridge."""
    if not _possible(bridge):
        return False
    with Netlink() as netlink:
        return links.has_ports(netlink, bridge, besides=besides)


def remove_bridge(name: str) -> bool:
    """Remove the bridge `name` if it exists and has no ports; whether it was removed. Raises OSError.

    For commands only: the daemon would keep the 24 MiB that pyroute2 takes.
    """
    from pyroute2 import IPRoute, NetlinkError  # noqa: PLC0415  see above

    with IPRoute() as netlink:
        try:
            for link in netlink.get_links(ifname=name, kind="bridge"):
                if not list(netlink.get_links(master=link["index"])):
                    netlink.link("del", index=link["index"])
                    return True
        except NetlinkError as error:
            if error.code != errno.ENODEV:
                raise OSError(error.code, os.strerror(error.code), name) from error
    return False


def _possible(name: str) -> bool:
    """Whether a link can have that name, which a plugin may have made up."""
    return 0 < len(os.fsencode(name)) < _IFNAMSIZ and "\0" not in name
