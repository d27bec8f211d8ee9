"""Links of a namespace: found, made, changed, removed. Formats: linux/if_link.h, linux/if_bridge.h."""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from typing import Final

from dockercni.linux import netlink
from dockercni.linux.netlink import Message, Netlink, NetlinkError, attribute, nest, number, string, text, u32

UP: Final = 0x1
PROMISCUOUS: Final = 0x100
_LOOPBACK: Final = 0x8

_NEWLINK: Final = 16
_DELLINK: Final = 17
_GETLINK: Final = 18
_SETLINK: Final = 19
_BRIDGE: Final = 7  # the family of a port of a bridge (AF_BRIDGE)

_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _TXQLEN, _OPERSTATE, _LINKINFO = 1, 3, 4, 5, 10, 13, 16, 18
_NET_NS_FD, _EXT_MASK, _PROMISCUITY = 28, 29, 30
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_VETH_PEER: Final = 1
_AF_SPEC: Final = 26
_INET6: Final = 10
_INET6_ADDR_GEN_MODE, _GENERATE_NONE = 8, b"\1"
_BR_STP_STATE, _BR_VLAN_FILTERING = 5, 7
_PROTINFO: Final = 12
_BRPORT_STATE, _BRPORT_MODE, _BRPORT_ISOLATED = 1, 4, 33
_FORWARDING: Final = b"\3"
_OPERATIONAL: Final = 6
_SKIP_STATISTICS: Final = 8

_IFINFO: Final = struct.Struct("=BxHiII")


@dataclass(frozen=True, slots=True)
class Link:
    """A link as the kernel describes it.

    `peer` is the index of a veth's other end, or of a macvlan's parent, in the namespace of that one. `hairpin` and
    `isolated` are flags of a bridge's port. `forwarding` says of one that it passes frames on, which it does not yet
    while spanning tree learns; `spanning` of a bridge that spanning tree decides that.
    """

    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    up: bool
    operational: bool
    promiscuous: bool
    master: int
    peer: int
    forwarding: bool = False
    hairpin: bool = False
    isolated: bool = False
    loopback: bool = False
    spanning: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """One end of a veth pair to make. `netns` is the descriptor of its namespace; None: where it is made."""

    name: str
    mac: str = ""
    mtu: int = 0
    queue: int | None = None
    netns: int | None = None
    master: int = 0
    up: bool = False


def find(socket: Netlink, name: str) -> Link | None:
    """The link called `name`, if there is one."""
    return _found(socket, _ifinfo(), text(_IFNAME, name))


def at(socket: Netlink, index: int) -> Link | None:
    """The link with that index, if there is one."""
    return _found(socket, _ifinfo(index))


def every(socket: Netlink) -> list[Link]:
    """All links. Costs time for each of them."""
    return [_link(body) for body in socket.dump(Message(_GETLINK, 0, _ifinfo() + u32(_EXT_MASK, _SKIP_STATISTICS)))]


def has_ports(socket: Netlink, name: str, *, besides: int = 0) -> bool:
    """Whether the bridge `name` has ports, more than `besides` of them. False if there is no such link.

    Costs the same for any number of ports: no more than the kernel's first answer is looked at.
    """
    bridge = find(socket, name)
    if bridge is None:
        return False
    request = _ifinfo() + u32(_EXT_MASK, _SKIP_STATISTICS) + u32(_MASTER, bridge.index)
    ports = (_link(body) for body in netlink.some(Message(_GETLINK, 0, request)))
    return sum(port.master == bridge.index for port in ports) > besides


def new_bridge(name: str, *, mtu: int = 0, vlan_filtering: bool = False) -> Message:
    """Make a bridge. EEXIST: there is a link of that name."""
    data = (nest(_INFO_DATA, attribute(_BR_VLAN_FILTERING, b"\1")),) if vlan_filtering else ()
    size = u32(_MTU, mtu) if mtu > 0 else b""
    info = nest(_LINKINFO, text(_INFO_KIND, "bridge"), *data)
    return Message(_NEWLINK, netlink.CREATE | netlink.EXCL, _ifinfo() + text(_IFNAME, name) + size + info)


def new_veth(first: End, second: End) -> Message:
    """Make a veth pair. EEXIST: one of the names is taken.

    The kernel lets only the first end join its master, and only the first end be up, in the same step.
    """
    peer = nest(_VETH_PEER, _ifinfo() + _end(second))
    info = nest(_LINKINFO, text(_INFO_KIND, "veth"), nest(_INFO_DATA, peer))
    flags = UP if first.up else 0
    return Message(_NEWLINK, netlink.CREATE | netlink.EXCL, _ifinfo(0, flags, flags) + _end(first) + info)


def set_flags(index: int, *, on: int = 0, off: int = 0) -> Message:
    """Switch flags of a link (UP, PROMISCUOUS) on and off."""
    return Message(_NEWLINK, 0, _ifinfo(index, on, on | off))


def set_mac(index: int, mac: str) -> Message:
    """Give a link a MAC."""
    return Message(_NEWLINK, 0, _ifinfo(index) + attribute(_ADDRESS, parse_mac(mac)))


def set_master(index: int, master: int) -> Message:
    """Make a link a port of the bridge with index `master`."""
    return Message(_NEWLINK, 0, _ifinfo(index) + u32(_MASTER, master))


def rename(index: int, name: str) -> Message:
    """Give a link that is down another name, in which the kernel replaces "%d" by a number."""
    return Message(_NEWLINK, 0, _ifinfo(index) + text(_IFNAME, name))


def set_port(name: str, *, hairpin: bool, isolated: bool) -> Message:
    """Let a bridge's port send back where a frame came from; keep it from other isolated ports."""
    flags = attribute(_BRPORT_MODE, bytes([hairpin])), attribute(_BRPORT_ISOLATED, bytes([isolated]))
    info = nest(_LINKINFO, text(_INFO_SLAVE_KIND, "bridge"), nest(_INFO_SLAVE_DATA, *flags))
    return Message(_NEWLINK, 0, _ifinfo() + text(_IFNAME, name) + info)


def set_forwarding(index: int) -> Message:
    """Have a bridge's port pass frames on. EBUSY: spanning tree decides that."""
    state = nest(_PROTINFO, attribute(_BRPORT_STATE, _FORWARDING))
    return Message(_SETLINK, 0, _IFINFO.pack(_BRIDGE, 0, index, 0, 0) + state)


def without_link_local(name: str) -> Message:
    """Keep the kernel from giving a link an IPv6 address by itself. EAFNOSUPPORT: there is no IPv6.

    The setting disable_ipv6 would do more, but cannot be written without trying again and again: see kernel.sysctl.
    """
    mode = nest(_AF_SPEC, nest(_INET6, attribute(_INET6_ADDR_GEN_MODE, _GENERATE_NONE)))
    return Message(_NEWLINK, 0, _ifinfo() + text(_IFNAME, name) + mode)


def delete(index: int) -> Message:
    """Remove a link, and with a veth its other end."""
    return Message(_DELLINK, 0, _ifinfo(index))


def parse_mac(mac: str) -> bytes:
    """The six bytes of a MAC as Go's net.ParseMAC reads it (":", "-" or "." between). Raises ValueError."""
    digits = mac.replace(":", "").replace("-", "").replace(".", "")
    separated = mac[2:3] in {":", "-"} and len(mac) == 17 and len(set(mac[2::3])) == 1
    dotted = len(mac) == 14 and mac[4] == mac[9] == "."
    if not (separated or dotted) or len(digits) != 12:
        raise ValueError(f"address {mac}: invalid MAC address")
    return bytes.fromhex(digits)


def _ifinfo(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    return _IFINFO.pack(0, 0, index, flags, change)


def _end(end: End) -> bytes:
    parts = [text(_IFNAME, end.name)]
    if end.mac:
        parts.append(attribute(_ADDRESS, parse_mac(end.mac)))
    if end.mtu > 0:
        parts.append(u32(_MTU, end.mtu))
    if end.queue is not None:
        parts.append(u32(_TXQLEN, end.queue))
    if end.netns is not None:
        parts.append(u32(_NET_NS_FD, end.netns))
    if end.master:
        parts.append(u32(_MASTER, end.master))
    return b"".join(parts)


def _found(socket: Netlink, header: bytes, *which: bytes) -> Link | None:
    request = Message(_GETLINK, 0, header + b"".join(which) + u32(_EXT_MASK, _SKIP_STATISTICS))
    try:
        return _link(socket.ask(request))
    except NetlinkError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = _IFINFO.unpack_from(body)
    found = netlink.attributes(body, _IFINFO.size)
    info = netlink.attributes(found.get(_LINKINFO, b""))
    port = netlink.attributes(info[_INFO_SLAVE_DATA]) if info.get(_INFO_SLAVE_KIND) == b"bridge\0" else {}
    bridge = netlink.attributes(info[_INFO_DATA]) if info.get(_INFO_KIND) == b"bridge\0" and _INFO_DATA in info else {}
    return Link(
        index=index,
        name=string(found[_IFNAME]),
        kind=string(info.get(_INFO_KIND, b"")),
        mac=found.get(_ADDRESS, b"").hex(":"),
        mtu=number(found[_MTU]),
        up=bool(flags & UP),
        operational=found.get(_OPERSTATE) == bytes([_OPERATIONAL]),
        promiscuous=bool(number(found.get(_PROMISCUITY, b"\0"))),
        master=number(found.get(_MASTER, b"\0")),
        peer=number(found.get(_LINK, b"\0")),
        forwarding=port.get(_BRPORT_STATE) == _FORWARDING,
        hairpin=port.get(_BRPORT_MODE) == b"\1",
        loopback=bool(flags & _LOOPBACK),
        isolated=port.get(_BRPORT_ISOLATED) == b"\1",
        spanning=bool(number(bridge.get(_BR_STP_STATE, b"\0"))),
    )
