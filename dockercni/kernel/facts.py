"""What a network namespace holds, read from the kernel's text files: cheap enough to be done for every container."""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Final

from dockercni.kernel.namespaces import Namespace, cookie

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_SIOCGIFCONF: Final = 0x8912
_IFREQ: Final = 40  # bytes of struct ifreq on 64-bit Linux: name[16], sockaddr
_RTF_UP: Final = 1
_NET: Final = Path("/proc/thread-self/net")


@dataclass(frozen=True, slots=True)
class Facts:
    """The links, the addresses of each link, and the destinations of the main table (default routes included).

    `cookie` is the namespace's own: see Namespace.cookie.
    """

    links: frozenset[str] = frozenset()
    addresses: frozenset[tuple[str, IPAddress]] = frozenset()
    routes: frozenset[IPNetwork] = frozenset()
    cookie: int | None = None


def facts(namespace: Namespace) -> Facts:
    """Look into the namespace. Raises OSError."""
    return namespace.run(_facts)


def _facts() -> Facts:
    return Facts(
        links=frozenset(name for _, name in socket.if_nameindex()),
        addresses=frozenset([*_addresses4(), *_addresses6()]),
        routes=frozenset([*(network for _, network in _paths4()), *_routes6()]),
        cookie=cookie(),
    )


def _addresses4() -> Iterator[tuple[str, IPAddress]]:
    """Every IPv4 address, secondary ones too (netdevice(7), SIOCGIFCONF)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        room = 64
        while True:
            buffer = array.array("B", bytes(room * _IFREQ))
            where, _ = buffer.buffer_info()
            answer = fcntl.ioctl(probe, _SIOCGIFCONF, struct.pack("iP", len(buffer), where))
            used = struct.unpack("iP", answer)[0]
            if used < len(buffer):
                break
            room *= 4
    for start in range(0, used, _IFREQ):
        one = buffer[start : start + _IFREQ].tobytes()
        yield os.fsdecode(one[:16].split(b"\0", 1)[0]).partition(":")[0], IPv4Address(one[20:24])


def _addresses6() -> Iterator[tuple[str, IPv6Address]]:
    for fields in _lines("if_inet6"):
        yield os.fsdecode(fields[5]), IPv6Address(bytes.fromhex(fields[0].decode()))


def _paths4() -> Iterator[tuple[str, IPv4Network]]:
    for fields in _lines("route"):
        if fields[0] != b"Iface" and int(fields[3], 16) & _RTF_UP:
            destination, mask = (int(fields[n], 16).to_bytes(4, sys.byteorder) for n in (1, 7))
            yield os.fsdecode(fields[0]), IPv4Network((destination, int.from_bytes(mask, "big").bit_count()))


def _routes6() -> Iterator[IPNetwork]:
    for fields in _lines("ipv6_route"):
        if int(fields[8], 16) & _RTF_UP and fields[9] != b"lo":
            yield IPv6Network((bytes.fromhex(fields[0].decode()), int(fields[1], 16)))


def _lines(name: str) -> Iterator[list[bytes]]:
    """The fields of each line. In bytes: a container may call its links nearly anything, white space of Unicode too."""
    try:
        text = (_NET / name).read_bytes()
    except FileNotFoundError:  # a kernel without IPv6
        return
    for line in text.split(b"\n"):
        if fields := line.split():
            yield fields
