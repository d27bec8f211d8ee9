"""Announces addresses to a link's neighbours, by gratuitous ARP and unsolicited neighbour advertisements.

Neighbours may have cached the hardware address that an address had before the container was restarted, and send there
for half a minute. The kernel's own announcement (arp_notify) comes before the other end of the link forwards, so it is
lost, or does not come at all.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from dockercni.linux.netns import Namespace

_ETHERNET: Final = 1  # ARPHRD_ETHER
_ARP: Final = 0x0806
_BROADCAST: Final = b"\xff" * 6
_ALL_NODES: Final = "ff02::1"
_ADVERTISEMENT: Final = 136
_OVERRIDE: Final = 0x20000000
_TARGET_LINK: Final = 2


def announce(namespace: Namespace, link: str, addresses: Iterable[IPv4Address | IPv6Address]) -> None:
    """Announce the addresses of an Ethernet link, by ARP and neighbour advertisements. Raises OSError."""
    found = list(addresses)
    with contextlib.ExitStack() as stack:
        arp = stack.enter_context(namespace.run(lambda: _packets(link)))
        _, _, _, kind, hardware = arp.getsockname()
        if kind != _ETHERNET:
            return
        for address in found:
            if isinstance(address, IPv4Address):
                arp.send(_request(hardware, address.packed))
            else:
                icmp = stack.enter_context(namespace.run(partial(_icmp, link, address)))
                _advertise(icmp, hardware, address)


def _packets(link: str) -> socket.socket:
    return _bound(socket.AF_PACKET, socket.SOCK_RAW, 0, (link, _ARP))


def _icmp(link: str, address: IPv6Address) -> socket.socket:
    opened = _bound(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6, (str(address), 0))
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex(link))
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    return opened


def _bound(family: int, kind: int, protocol: int, address: tuple[str, int]) -> socket.socket:
    opened = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
    try:
        opened.bind(address)
    except OSError:
        opened.close()
        raise
    return opened


def _request(hardware: bytes, address: bytes) -> bytes:
    """An ARP announcement (RFC 5227, section 3): a request in which the address asks for itself."""
    head = struct.pack("!6s6sHHHBBH", _BROADCAST, hardware, _ARP, _ETHERNET, 0x0800, 6, 4, 1)
    return head + hardware + address + bytes(6) + address


def _advertise(icmp: socket.socket, hardware: bytes, address: IPv6Address) -> None:
    """An unsolicited neighbour advertisement (RFC 4861, section 7.2.6); the kernel fills the checksum in."""
    body = struct.pack("!BBHI16sBB6s", _ADVERTISEMENT, 0, 0, _OVERRIDE, address.packed, _TARGET_LINK, 1, hardware)
    icmp.sendto(body, (_ALL_NODES, 0))
