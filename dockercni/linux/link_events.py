"""The kernel's word that a link, an address, a route or forwarding has gone, as it happens.

Formats: linux/rtnetlink.h, linux/if_link.h, linux/netconf.h.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from typing import Final, Self

from dockercni.linux.links import PROMISCUOUS, UP
from dockercni.linux.netlink import attributes, number, string

EVERYTHING: Final = "*"  # no link is called so: what concerns all of them, or nobody knows what

_SOL_NETLINK: Final = 270
_ADD_MEMBERSHIP: Final = 1
_GROUPS: Final = (1, 5, 7, 9, 11, 24, 25)  # links; addresses and routes of IPv4; of IPv6; netconf of both
_NEWLINK, _DELLINK, _DELADDR, _DELROUTE, _NEWNETCONF = 16, 17, 21, 25, 80
_HEADER: Final = struct.Struct("=IHHII")
_IFINFO: Final = struct.Struct("=BxHiII")
_IFNAME, _MASTER, _LINKINFO, _INFO_KIND = 3, 10, 18, 1
_IFADDR_INDEX: Final = 4
_RTMSG, _RTA_OIF = 12, 4
_NETCONF, _NETCONF_INDEX, _NETCONF_FORWARDING = 4, 1, 2
_ALL: Final = -1  # the index that stands for all links
_AF_BRIDGE: Final = 7
_ROOM: Final = 1 << 20  # bytes: a burst of fifty starts is some hundreds of events


class LinkEvents:
    """A subscription in the network namespace of the thread that made it. Raises OSError."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        self._socket.bind((0, 0))
        for group in _GROUPS:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def wait(self, quiet: float, longest: float) -> set[str]:
        """Wait until something goes, and then for quiet, but no longer than that; the names of the links concerned.

        EVERYTHING is among them where all are concerned, or events were lost.
        """
        found: set[str] = set()
        deadline = 0.0
        while True:
            now = time.monotonic()
            if found and now >= deadline:
                return found
            pause = min(quiet, deadline - now) if found else None
            if not select.select([self._socket], [], [], pause)[0]:
                return found
            first = not found
            found |= self._gone()
            if first and found:
                deadline = time.monotonic() + longest

    def _gone(self) -> set[str]:
        found: set[str] = set()
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                found.add(EVERYTHING)
                continue
            found |= concerned(data)


def concerned(data: bytes) -> set[str]:
    """The names of the links that lost something, by a datagram of events."""
    found, start = set(), 0
    while start + _HEADER.size <= len(data):
        size, kind, *_ = _HEADER.unpack_from(data, start)
        body = data[start + _HEADER.size : start + size]
        if kind in {_NEWLINK, _DELLINK}:
            found.add(_of_link(kind, body))
        elif kind == _DELADDR:
            found.add(_name(struct.unpack_from("=i", body, _IFADDR_INDEX)[0]))
        elif kind == _DELROUTE:
            found.add(_name(number(attributes(body, _RTMSG).get(_RTA_OIF, b""))))
        elif kind == _NEWNETCONF:
            found.add(_of_settings(body))
        start += max(_HEADER.size, (size + 3) & ~3)
    return found - {""}


def _of_link(kind: int, body: bytes) -> str:
    """Its name if it is gone or down, or left its bridge, or its flags as a port or for promiscuous mode changed."""
    family, _, _, flags, change = _IFINFO.unpack_from(body)
    found = attributes(body, _IFINFO.size)
    name = string(found.get(_IFNAME, b""))
    if kind == _DELLINK or family == _AF_BRIDGE or not flags & UP or change & (UP | PROMISCUOUS):
        return name
    veth = attributes(found.get(_LINKINFO, b"")).get(_INFO_KIND) == b"veth\0"
    return name if veth and _MASTER not in found else ""


def _of_settings(body: bytes) -> str:
    found = attributes(body, _NETCONF)
    if _NETCONF_FORWARDING not in found or number(found[_NETCONF_FORWARDING]):
        return ""
    (index,) = struct.unpack("=i", found[_NETCONF_INDEX])
    return EVERYTHING if index == _ALL else _name(index)


def _name(index: int) -> str:
    """What a link is called; "" if it is gone, which is an event of its own."""
    try:
        return socket.if_indextoname(index) if index > 0 else ""
    except OSError:
        return ""
