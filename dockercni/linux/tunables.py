"""What the tuning plugin can change about a link: MAC, MTU, flags, queue. Formats: linux/if_link.h."""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from typing import Final

from dockercni.linux import netlink
from dockercni.linux.links import parse_mac
from dockercni.linux.netlink import Message, Netlink, NetlinkError, attribute, number, text, u32

PROMISCUOUS: Final = 0x100
ALL_MULTICAST: Final = 0x200

_NEWLINK: Final = 16
_GETLINK: Final = 18
_ADDRESS, _IFNAME, _MTU, _TXQLEN, _PROMISCUITY = 1, 3, 4, 13, 30
_ALL_BITS: Final = 0xFFFFFFFF  # a negative number is for the kernel to refuse
_IFINFO: Final = struct.Struct("=BxHiII")


@dataclass(frozen=True, slots=True)
class Tunables:
    """The state of a link. `promiscuous` counts who wants it so; `all_multicast` is the flag that `ip` shows."""

    mac: str
    mtu: int
    promiscuous: int
    all_multicast: bool
    queue: int


def read(socket: Netlink, name: str) -> Tunables | None:
    """The state of the link called `name`, if there is one. Raises NetlinkError."""
    try:
        body = socket.ask(Message(_GETLINK, 0, _IFINFO.pack(0, 0, 0, 0, 0) + text(_IFNAME, name)))
    except NetlinkError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    _, _, _, flags, _ = _IFINFO.unpack_from(body)
    found = netlink.attributes(body, _IFINFO.size)
    return Tunables(
        mac=found.get(_ADDRESS, b"").hex(":"),
        mtu=number(found[_MTU]),
        promiscuous=number(found.get(_PROMISCUITY, b"\0")),
        all_multicast=bool(flags & ALL_MULTICAST),
        queue=number(found[_TXQLEN]),
    )


def set_mac(name: str, mac: str) -> Message:
    """Give the link a MAC. Raises ValueError if it is none."""
    return _change(name, attribute(_ADDRESS, parse_mac(mac)))


def set_mtu(name: str, mtu: int) -> Message:
    """Give the link an MTU."""
    return _change(name, u32(_MTU, mtu & _ALL_BITS))


def set_queue(name: str, length: int) -> Message:
    """Give the link a transmit queue of that many packets."""
    return _change(name, u32(_TXQLEN, length & _ALL_BITS))


def set_flag(name: str, flag: int, *, on: bool) -> Message:
    """Switch PROMISCUOUS or ALL_MULTICAST."""
    return Message(_NEWLINK, 0, _IFINFO.pack(0, 0, 0, flag if on else 0, flag) + text(_IFNAME, name))


def _change(name: str, value: bytes) -> Message:
    return Message(_NEWLINK, 0, _IFINFO.pack(0, 0, 0, 0, 0) + text(_IFNAME, name) + value)
