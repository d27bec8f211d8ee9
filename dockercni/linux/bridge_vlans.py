"""VLANs of a bridge's ports. Formats: linux/if_bridge.h; they need a kernel with CONFIG_BRIDGE_VLAN_FILTERING."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from typing import Final

from dockercni.linux import netlink
from dockercni.linux.netlink import Message, Netlink, attribute, items, nest, u32

_SETLINK, _DELLINK, _GETLINK = 19, 17, 18
_AF_SPEC, _EXT_MASK = 26, 29
_EACH_VLAN: Final = 2
_FLAGS, _VLAN_INFO = 0, 2
_MASTER: Final = 1  # the port belongs to a bridge, which keeps its VLANs
_PVID, _UNTAGGED = 2, 4

_IFINFO: Final = struct.Struct("=BxHiII")
_INFO: Final = struct.Struct("=HH")


def add(port: int, vid: int, *, native: bool = False) -> Message:
    """Let a port take part in a VLAN; `native` makes it the one for frames without a tag, both ways."""
    return Message(_SETLINK, 0, _body(port, vid, _PVID | _UNTAGGED if native else 0))


def remove(port: int, vid: int) -> Message:
    """Take a port out of a VLAN."""
    return Message(_DELLINK, 0, _body(port, vid, 0))


def of(socket_: Netlink, port: int) -> list[int]:
    """The VLANs that a port takes part in. Costs time for every port there is. Raises NetlinkError."""
    request = _IFINFO.pack(socket.AF_BRIDGE, 0, 0, 0, 0) + u32(_EXT_MASK, _EACH_VLAN)
    return vids(socket_.dump(Message(_GETLINK, 0, request)), port)


def vids(bodies: Iterable[bytes], port: int) -> list[int]:
    """The VLANs of `port` among the answers of the kernel."""
    found = []
    for body in bodies:
        if _IFINFO.unpack_from(body)[2] != port:
            continue
        spec = netlink.attributes(body, _IFINFO.size).get(_AF_SPEC, b"")
        found += [_INFO.unpack(value)[1] for kind, value in items(spec) if kind == _VLAN_INFO]
    return found


def _body(port: int, vid: int, flags: int) -> bytes:
    on_master = attribute(_FLAGS, struct.pack("=H", _MASTER))
    info = attribute(_VLAN_INFO, _INFO.pack(flags, vid))
    return _IFINFO.pack(socket.AF_BRIDGE, 0, port, 0, 0) + nest(_AF_SPEC, on_master, info)
