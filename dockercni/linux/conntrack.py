"""Removes connections to a port from the kernel's table of connections, so that new rules apply to them.

Formats: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection
from typing import Final

from dockercni.linux.netlink import (
    NFGENMSG_SIZE,
    Message,
    Netlink,
    NetlinkError,
    attribute,
    attributes,
    be32,
    nest,
    netfilter,
    nfgenmsg,
)

_GET, _DELETE = (1 << 8 | number for number in (1, 2))
_ORIGINAL, _ZONE, _ID, _FILTER = 1, 18, 12, 25
_PROTOCOL_PART: Final = 2
_NUMBER, _DESTINATION_PORT = 1, 3
_FILTER_ORIGINAL: Final = 1
_BY_PROTOCOL_AND_PORT: Final = 1 << 3 | 1 << 5
_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}


def forget_udp(version: int, ports: Collection[int]) -> None:
    """Forget the UDP connections of one IP version whose first packet went to one of `ports`. Raises NetlinkError.

    Kernels from 6.10 on filter by port themselves; for older ones we list all connections and choose.
    """
    with netfilter() as opened:
        try:
            for port in ports:
                opened.do(flush(version, port))
        except NetlinkError as error:
            if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP}:
                raise
            _forget_one_by_one(opened, version, ports)


def flush(version: int, port: int) -> Message:
    """Forget the UDP connections to `port`, by a deletion with a filter in place of a connection."""
    protocol = nest(
        _PROTOCOL_PART,
        attribute(_NUMBER, bytes([socket.IPPROTO_UDP])),
        attribute(_DESTINATION_PORT, port.to_bytes(2, "big")),
    )
    wanted = nest(_FILTER, attribute(_FILTER_ORIGINAL, struct.pack("=I", _BY_PROTOCOL_AND_PORT)))
    return Message(_DELETE, 0, nfgenmsg(_FAMILY[version]) + nest(_ORIGINAL, protocol) + wanted)


def _forget_one_by_one(opened: Netlink, version: int, ports: Collection[int]) -> None:
    header = nfgenmsg(_FAMILY[version])
    doomed = []
    for body in opened.dump(Message(_GET, 0, header)):
        found = attributes(body, NFGENMSG_SIZE)
        protocol = attributes(attributes(found[_ORIGINAL])[_PROTOCOL_PART])
        udp = protocol[_NUMBER] == bytes([socket.IPPROTO_UDP])
        if udp and int.from_bytes(protocol[_DESTINATION_PORT], "big") in ports:
            zone = attribute(_ZONE, found[_ZONE]) if _ZONE in found else b""
            number = int.from_bytes(found[_ID], "big")
            doomed.append(Message(_DELETE, 0, header + nest(_ORIGINAL, found[_ORIGINAL]) + zone + be32(_ID, number)))
    for error in opened.try_all(doomed) if doomed else []:
        if error.errno != errno.ENOENT:  # ended by itself meanwhile
            raise error
