"""Addresses and routes of a namespace. Formats: linux/if_addr.h, linux/rtnetlink.h."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TYPE_CHECKING, Final

from dockercni.linux import netlink
from dockercni.linux.netlink import Message, Netlink, NetlinkError, attribute, nest, number, u32

if TYPE_CHECKING:
    from dockercni.linux.netns import Namespace

Interface = IPv4Interface | IPv6Interface
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAIN: Final = 254  # routing tables
LOCAL: Final = 255
LINK_SCOPE: Final = 253
HOST_SCOPE: Final = 254
_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}

_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_NODAD: Final = 0x02
_NOPREFIXROUTE: Final = 0x200
_DAD_FAILED: Final = 0x08
_TENTATIVE: Final = 0x40
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_METRICS, _RTA_MULTIPATH = 1, 4, 5, 6, 7, 8, 9
_RTA_TABLE: Final = 15
_RTAX_MTU, _RTAX_ADVMSS = 2, 8
_MULTICAST: Final = IPv6Network("ff00::/8")
_PROTO_KERNEL: Final = 2
_PROTO_BOOT: Final = 3
_PROTO_RA: Final = 9
_UNICAST: Final = 1
_KERNELS_PRIORITY: Final = {4: 0, 6: 256}  # of the routes to subnets that the kernel makes itself
_PROTOCOL_AT, _SCOPE_AT, _TYPE_AT = 5, 6, 7  # in the header of a message about a route
_ANY_SCOPE: Final = 255

_IFADDR: Final = struct.Struct("=BBBBI")
_RTMSG: Final = struct.Struct("=BBBBBBBBI")
_RTNEXTHOP: Final = struct.Struct("=HBBi")


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """An address of a link; `tentative` during duplicate address detection, `refused` if that found a duplicate."""

    address: Interface
    tentative: bool
    refused: bool


@dataclass(frozen=True, slots=True)
class Route:
    """A route: destination, link (its index) and gateway. `mtu` and `advmss` are 0 where the link's apply."""

    dst: Network
    link: int
    gateway: Address | None = None
    priority: int = 0
    table: int = MAIN
    scope: int = 0
    mtu: int = 0
    advmss: int = 0


def add_address(link: int, address: Interface, *, again: bool = False, alone: bool = False) -> Message:
    """Give a link an address. EEXIST: it has it.

    `again`: the link had it before, so it is not checked for duplicates again and serves at once. `alone`: the kernel
    makes no route to its subnet.
    """
    parts = _whole(address)
    if isinstance(address, IPv4Interface) and address.network.prefixlen < 31:
        parts += attribute(_IFA_BROADCAST, address.network.broadcast_address.packed)
    flags = _NODAD if again and address.version == 6 else 0
    if alone:
        parts += u32(_IFA_FLAGS, flags | _NOPREFIXROUTE)
    return Message(_NEWADDR, netlink.CREATE | netlink.EXCL, _ifaddr(link, address, flags) + parts)


def remove_address(link: int, address: Interface) -> Message:
    """Take an address from a link."""
    return Message(_DELADDR, 0, _ifaddr(link, address) + _whole(address))


def every_address(socket_: Netlink) -> list[tuple[int, Address]]:
    """The addresses of all links, each with the index of its link."""
    bodies = socket_.dump(Message(_GETADDR, 0, _IFADDR.pack(0, 0, 0, 0, 0)))
    return [
        (_IFADDR.unpack_from(body)[4], ip_address(_packed(netlink.attributes(body, _IFADDR.size)))) for body in bodies
    ]


def addresses(socket_: Netlink, link: int, version: int = 0) -> list[LinkAddress]:
    """The addresses of a link, of one family or (0) of both, in the kernel's order."""
    request = _IFADDR.pack(_FAMILY.get(version, 0), 0, 0, 0, link)
    found = []
    for body in socket_.dump(Message(_GETADDR, 0, request)):
        _, prefix, flags, _, index = _IFADDR.unpack_from(body)
        if index != link:  # kernels before 4.20 do not filter
            continue
        parts = netlink.attributes(body, _IFADDR.size)
        flags |= number(parts.get(_IFA_FLAGS, b"\0"))
        address = _interface(_packed(parts), prefix)
        found.append(LinkAddress(address, bool(flags & _TENTATIVE), bool(flags & _DAD_FAILED)))
    return found


def add_route(route: Route) -> Message:
    """Add a route. EEXIST: the same one is there."""
    table = route.table if route.table < 256 else 0
    header = _RTMSG.pack(
        _FAMILY[route.dst.version], route.dst.prefixlen, 0, 0, table, _PROTO_BOOT, route.scope, _UNICAST, 0
    )
    parts = attribute(_RTA_DST, route.dst.network_address.packed)
    if route.gateway is not None:
        parts += attribute(_RTA_GATEWAY, route.gateway.packed)
    if route.priority > 0:
        parts += u32(_RTA_PRIORITY, route.priority)
    if route.table >= 256:
        parts += u32(_RTA_TABLE, route.table)
    metrics = [u32(kind, value) for kind, value in ((_RTAX_MTU, route.mtu), (_RTAX_ADVMSS, route.advmss)) if value > 0]
    if metrics:
        parts += nest(_RTA_METRICS, *metrics)
    return Message(_NEWROUTE, netlink.CREATE, header + parts + u32(_RTA_OIF, route.link))


def remove_route(route: Route) -> Message:
    """Remove that one route; of several next hops the one with this gateway. ESRCH: it is not there."""
    message = add_route(route)
    header = bytearray(message.body)
    header[_SCOPE_AT] = _ANY_SCOPE
    header[_PROTOCOL_AT] = header[_TYPE_AT] = 0  # any
    return Message(_DELROUTE, 0, bytes(header))


def remove_multicast_route(link: int) -> Message:
    """Remove the IPv6 multicast route that the kernel gives each link that is up. ESRCH: it has none."""
    header = _RTMSG.pack(socket.AF_INET6, _MULTICAST.prefixlen, 0, 0, LOCAL, 0, 0, 0, 0)
    destination = attribute(_RTA_DST, _MULTICAST.network_address.packed)
    return Message(_DELROUTE, 0, header + destination + u32(_RTA_OIF, link))


def routes(socket_: Netlink, version: int, *, every_table: bool = False) -> list[Route]:
    """The routes of one family, of the main table or of all; a route with several next hops is several routes here."""
    found = []
    for body in socket_.dump(Message(_GETROUTE, 0, _RTMSG.pack(_FAMILY[version], 0, 0, 0, 0, 0, 0, 0, 0))):
        if body[0] != _FAMILY[version]:  # a kernel without IPv6 answers with the routes of IPv4
            continue
        route = _route(body, version)
        if every_table or route.table == MAIN:
            found += _next_hops(body, route)
    return found


def routes_over(socket_: Netlink, link: int, version: int) -> list[Route]:
    """The routes of all tables over one link. The kernel filters them, because a host may have a million others."""
    request = _RTMSG.pack(_FAMILY[version], 0, 0, 0, 0, 0, 0, 0, 0) + u32(_RTA_OIF, link)
    bodies = socket_.dump(Message(_GETROUTE, 0, request))
    found = (
        route for body in bodies if body[0] == _FAMILY[version] for route in _next_hops(body, _route(body, version))
    )
    return [route for route in found if route.link == link]  # kernels before 4.20 do not filter


def learned(socket_: Netlink) -> set[int]:
    """The indexes of the links over which the kernel learned IPv6 routes by router advertisement."""
    bodies = socket_.dump(Message(_GETROUTE, 0, _RTMSG.pack(_FAMILY[6], 0, 0, 0, 0, 0, 0, 0, 0)))
    return {_route(body, 6).link for body in bodies if body[0] == _FAMILY[6] and body[_PROTOCOL_AT] == _PROTO_RA}


def add_host_route(link: int, address: Address) -> Message:
    """Add a route to one address over a link. EEXIST: it is there."""
    alone = ip_network(address)
    return add_route(Route(alone, link, scope=HOST_SCOPE))


def add_subnet_route(link: int, address: Interface) -> Message:
    """Add the route to the subnet of a link's address that the kernel makes with the address, and removes with it."""
    version = address.version
    route = Route(address.network, link, priority=_KERNELS_PRIORITY[version], scope=LINK_SCOPE if version == 4 else 0)
    message = add_route(route)
    header = bytearray(message.body)
    header[_PROTOCOL_AT] = _PROTO_KERNEL
    if version == 6:
        return Message(_NEWROUTE, netlink.CREATE, bytes(header))
    # APPEND puts it behind the routes of other links to that subnet; else it would come first and cut those off
    source = attribute(_RTA_PREFSRC, address.packed)
    return Message(_NEWROUTE, netlink.CREATE | netlink.APPEND, bytes(header) + source)


def route_get(socket_: Netlink, address: Address) -> int | None:
    """The index of the link over which this namespace reaches `address`; None if it does not."""
    header = _RTMSG.pack(_FAMILY[address.version], address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    try:
        body = socket_.ask(Message(_GETROUTE, 0, header + attribute(_RTA_DST, address.packed)))
    except NetlinkError as error:
        if error.errno in {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL}:
            return None
        raise
    return _route(body, address.version).link or None


def default_routes(namespace: Namespace) -> list[Route]:
    """The default routes of the main table, of both families, one for each next hop. Raises OSError."""
    with namespace.run(Netlink) as socket:
        return _default_routes(socket)


def keep_default_routes(namespace: Namespace, before: Collection[Route], versions: Iterable[int], ifname: str) -> None:
    """Bring the default routes of these IP versions back to what they were `before` the link `ifname` came.

    A router that announces itself on that link later gets none either. Raises OSError.
    """
    with namespace.handle() as opened:
        for version in versions:
            if version == 6:
                with contextlib.suppress(OSError):  # a kernel without IPv6, or an interface that ADD named otherwise
                    opened.sysctls.write(f"ipv6/conf/{ifname}/accept_ra_defrtr", "0")
            now = [route for route in _default_routes(opened.netlink) if route.dst.version == version]
            was = [route for route in before if route.dst.version == version]
            for route in now:
                if route not in was:
                    _remove_route(opened.netlink, route)
            for route in was:
                if route not in now:
                    # The engine may have switched IPv6 off meanwhile, as 20.10 does while a container starts. The next
                    # reconcile of the container repairs what is recorded and missing.
                    with contextlib.suppress(NetlinkError):
                        opened.netlink.do(add_route(route))


def _remove_route(socket: Netlink, route: Route) -> None:
    try:
        socket.do(remove_route(route))
    except NetlinkError as error:
        if error.errno != errno.ESRCH:  # already gone
            raise


def _default_routes(socket: Netlink) -> list[Route]:
    return [route for version in (4, 6) for route in routes(socket, version) if not route.dst.prefixlen]


def _ifaddr(link: int, address: Interface, flags: int = 0) -> bytes:
    return _IFADDR.pack(_FAMILY[address.version], address.network.prefixlen, flags, 0, link)


def _packed(parts: dict[int, bytes]) -> bytes:
    """The link's own address: IFA_ADDRESS is the other end's on a point-to-point link, and all there is for IPv6."""
    return parts.get(_IFA_LOCAL) or parts[_IFA_ADDRESS]


def _whole(address: Interface) -> bytes:
    return attribute(_IFA_LOCAL, address.packed) + attribute(_IFA_ADDRESS, address.packed)


def _route(body: bytes, version: int) -> Route:
    _, prefix, _, _, table, _, scope, _, _ = _RTMSG.unpack_from(body)
    parts = netlink.attributes(body, _RTMSG.size)
    gateway = parts.get(_RTA_GATEWAY)
    destination = _interface(parts.get(_RTA_DST) or bytes(4 if version == 4 else 16), prefix)
    return Route(
        dst=destination.network,
        link=number(parts.get(_RTA_OIF, b"\0")),
        gateway=ip_address(gateway) if gateway else None,
        priority=number(parts.get(_RTA_PRIORITY, b"\0")),
        table=number(parts[_RTA_TABLE]) if _RTA_TABLE in parts else table,
        scope=scope,
    )


def _next_hops(body: bytes, route: Route) -> list[Route]:
    """One route for each next hop, since each of several (RTA_MULTIPATH) has its own link and gateway."""
    hops = netlink.attributes(body, _RTMSG.size).get(_RTA_MULTIPATH, b"")
    found = []
    while len(hops) >= _RTNEXTHOP.size:
        size, _, _, link = _RTNEXTHOP.unpack_from(hops)
        gateway = netlink.attributes(hops[:size], _RTNEXTHOP.size).get(_RTA_GATEWAY)
        found.append(replace(route, link=link, gateway=ip_address(gateway) if gateway else None))
        hops = hops[max(size, _RTNEXTHOP.size) :]
    return found or [route]


def _interface(packed: bytes, prefix: int) -> Interface:
    return IPv4Interface((packed, prefix)) if len(packed) == 4 else IPv6Interface((packed, prefix))
