"""Links of a namespace: found, made, changed, removed; VLANs of bridge ports.

Formats: linux/if_link.h, linux/if_bridge.h.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from dockercni.linux import netlink, threads
from dockercni.linux.netlink import (
    Message,
    Netlink,
    NetlinkError,
    attribute,
    attributes,
    items,
    nest,
    number,
    string,
    text,
    u32,
)
from dockercni.linux.netns import Namespace

UP: Final = 0x1
PROMISCUOUS: Final = 0x100
ALL_MULTICAST: Final = 0x200
_LOOPBACK: Final = 0x8

NEWLINK: Final = 16
DELLINK: Final = 17
_GETLINK: Final = 18
_SETLINK: Final = 19
_BRIDGE: Final = 7  # AF_BRIDGE: the family of messages about ports of bridges

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
_EACH_VLAN, _SKIP_STATISTICS = 2, 8
_VLAN_FLAGS, _VLAN_INFO = 0, 2
_ON_MASTER: Final = 1  # the port belongs to a bridge, which keeps its VLANs
_PVID, _UNTAGGED = 2, 4
_ALL_BITS: Final = 0xFFFFFFFF  # a negative number is for the kernel to refuse

_IFINFO: Final = struct.Struct("=BxHiII")
_WITHOUT_STATISTICS: Final = u32(_EXT_MASK, _SKIP_STATISTICS)
_VLAN: Final = struct.Struct("=HH")


@dataclass(frozen=True, slots=True)
class Link:
    """A link as the kernel describes it.

    `peer` is the index of a veth's other end, or of a macvlan's parent, in the namespace of that link. `hairpin`,
    `isolated` and `forwarding` are states of a bridge's port; one does not forward yet while spanning tree learns.
    `spanning` is whether a bridge runs spanning tree. `promiscuity` counts the requests for promiscuous mode,
    `all_multicast` is the flag that `ip` shows, `queue` the length of the transmit queue.
    """

    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    up: bool
    operational: bool
    promiscuity: int
    master: int
    peer: int
    forwarding: bool = False
    hairpin: bool = False
    isolated: bool = False
    loopback: bool = False
    spanning: bool = False
    all_multicast: bool = False
    queue: int = 0

    @property
    def promiscuous(self) -> bool:
        """Whether it is in promiscuous mode."""
        return self.promiscuity > 0


@dataclass(frozen=True, slots=True)
class End:
    """One end of a veth pair to create. `netns` is the descriptor of its namespace; None for the socket's own."""

    name: str
    mac: str = ""
    mtu: int = 0
    queue: int | None = None
    netns: int | None = None
    master: int = 0
    up: bool = False


def find(socket: Netlink, name: str) -> Link | None:
    """The link called `name`, if there is one."""
    return _found(socket, 0, name)


def at(socket: Netlink, index: int) -> Link | None:
    """The link with that index, if there is one."""
    return _found(socket, index)


def every(socket: Netlink) -> list[Link]:
    """All links. Costs time for each of them."""
    return [_link(body) for body in socket.dump(Message(_GETLINK, 0, _ifinfo() + _WITHOUT_STATISTICS))]


def has_ports(socket: Netlink, name: str, *, besides: int = 0) -> bool:
    """Whether the bridge `name` has ports, more than `besides` of them. False if there is no such link.

    Costs the same for any number of ports: no more than the kernel's first answer is looked at.
    """
    bridge = find(socket, name)
    if bridge is None:
        return False
    request = _ifinfo() + _WITHOUT_STATISTICS + u32(_MASTER, bridge.index)
    ports = (_link(body) for body in netlink.some(Message(_GETLINK, 0, request)))
    return sum(port.master == bridge.index for port in ports) > besides


def new_bridge(name: str, *, mtu: int = 0, vlan_filtering: bool = False) -> Message:
    """Create a bridge. EEXIST: there is a link of that name."""
    data = (nest(_INFO_DATA, attribute(_BR_VLAN_FILTERING, b"\1")),) if vlan_filtering else ()
    size = u32(_MTU, mtu) if mtu > 0 else b""
    info = nest(_LINKINFO, text(_INFO_KIND, "bridge"), *data)
    return Message(NEWLINK, netlink.CREATE | netlink.EXCL, _ifinfo() + text(_IFNAME, name) + size + info)


def new_veth(first: End, second: End) -> Message:
    """Create a veth pair. EEXIST: one of the names is taken.

    Only the first end can get its master and be set up in this same request; the kernel ignores both for the second.
    """
    peer = nest(_VETH_PEER, _ifinfo() + _end(second))
    info = nest(_LINKINFO, text(_INFO_KIND, "veth"), nest(_INFO_DATA, peer))
    flags = UP if first.up else 0
    return Message(NEWLINK, netlink.CREATE | netlink.EXCL, _ifinfo(0, flags, flags) + _end(first) + info)


def set_flags(link: int | str, *, on: int = 0, off: int = 0) -> Message:
    """Switch flags of a link (UP, PROMISCUOUS, ALL_MULTICAST), given by index or name, on and off."""
    return Message(NEWLINK, 0, _which(link, on, on | off))


def set_mac(link: int | str, mac: str) -> Message:
    """Give a link, given by index or name, a MAC. Raises ValueError if it is none."""
    return Message(NEWLINK, 0, _which(link) + attribute(_ADDRESS, parse_mac(mac)))


def set_mtu(link: int | str, mtu: int) -> Message:
    """Give a link, given by index or name, an MTU."""
    return Message(NEWLINK, 0, _which(link) + u32(_MTU, mtu & _ALL_BITS))


def set_queue(link: int | str, length: int) -> Message:
    """Give a link, given by index or name, a transmit queue of that many packets."""
    return Message(NEWLINK, 0, _which(link) + u32(_TXQLEN, length & _ALL_BITS))


def set_master(index: int, master: int) -> Message:
    """Make a link a port of the bridge with index `master`."""
    return Message(NEWLINK, 0, _ifinfo(index) + u32(_MASTER, master))


def rename(index: int, name: str) -> Message:
    """Give a link that is down another name, in which the kernel replaces "%d" by a number."""
    return Message(NEWLINK, 0, _ifinfo(index) + text(_IFNAME, name))


def set_port(name: str, *, hairpin: bool, isolated: bool) -> Message:
    """Set hairpin mode (frames may leave by the port that they came in by) and isolation from other isolated ports."""
    flags = attribute(_BRPORT_MODE, bytes([hairpin])), attribute(_BRPORT_ISOLATED, bytes([isolated]))
    info = nest(_LINKINFO, text(_INFO_SLAVE_KIND, "bridge"), nest(_INFO_SLAVE_DATA, *flags))
    return Message(NEWLINK, 0, _which(name) + info)


def set_forwarding(index: int) -> Message:
    """Have a bridge's port forward frames. EBUSY: spanning tree decides that."""
    state = nest(_PROTINFO, attribute(_BRPORT_STATE, _FORWARDING))
    return Message(_SETLINK, 0, _IFINFO.pack(_BRIDGE, 0, index, 0, 0) + state)


def without_link_local(name: str) -> Message:
    """Keep the kernel from giving a link an IPv6 address by itself. EAFNOSUPPORT: there is no IPv6.

    The sysctl disable_ipv6 would do more, but writing it spins while other links change: see sysctl.turn.
    """
    mode = nest(_AF_SPEC, nest(_INET6, attribute(_INET6_ADDR_GEN_MODE, _GENERATE_NONE)))
    return Message(NEWLINK, 0, _which(name) + mode)


def delete(index: int) -> Message:
    """Remove a link, and with a veth its other end."""
    return Message(DELLINK, 0, _ifinfo(index))


def remove(namespace: Namespace, socket: Netlink, index: int) -> None:
    """Remove the link with that index from `namespace`, to which `socket` belongs. Already gone is success.

    After RTM_DELLINK the kernel keeps the caller for 12 to 25 ms, until no reader can hold the link any more (RCU). But
    the link has left its namespace, and a veth's other end its own, after 1 to 5 ms, and nothing can bring them back.
    So a thread of its own makes the call, and this returns when the link is gone. Raises NetlinkError.
    """
    failure: list[NetlinkError] = []
    second = namespace.run(Netlink)

    def work() -> None:
        with second:
            try:
                second.do(delete(index))
            except NetlinkError as error:
                failure.append(error)

    try:
        threads.start("link-removal", work)
    except OSError:  # no thread can be started: wait for the kernel here
        work()
    while True:
        if failure and failure[0].errno != errno.ENODEV:
            raise failure[0]
        try:
            socket.do(set_flags(index))  # changes nothing, but waits for RTNL, which the removal holds
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return
            raise


def add_vlan(port: int, vid: int, *, native: bool = False) -> Message:
    """Let a bridge's port take part in a VLAN; `native` makes it the one for frames without a tag, both ways.

    Needs a kernel with CONFIG_BRIDGE_VLAN_FILTERING, as the other functions for VLANs.
    """
    return Message(_SETLINK, 0, _port_vlan(port, vid, _PVID | _UNTAGGED if native else 0))


def remove_vlan(port: int, vid: int) -> Message:
    """Take a bridge's port out of a VLAN."""
    return Message(DELLINK, 0, _port_vlan(port, vid, 0))


def vlans(socket: Netlink, port: int) -> list[int]:
    """The VLANs that a bridge's port takes part in. Costs time for every port there is. Raises NetlinkError."""
    request = _IFINFO.pack(_BRIDGE, 0, 0, 0, 0) + u32(_EXT_MASK, _EACH_VLAN)
    return vlan_ids(socket.dump(Message(_GETLINK, 0, request)), port)


def vlan_ids(bodies: Iterable[bytes], port: int) -> list[int]:
    """The VLANs of `port` among the kernel's answers."""
    found = []
    for body in bodies:
        if _IFINFO.unpack_from(body)[2] == port:
            spec = attributes(body, _IFINFO.size).get(_AF_SPEC, b"")
            found += [_VLAN.unpack(value)[1] for kind, value in items(spec) if kind == _VLAN_INFO]
    return found


def lost(kind: int, body: bytes) -> str:
    """The name of the link that an event (NEWLINK, DELLINK) reports a loss of; "" if it reports none.

    It is gone, down or without its bridge, or its flags as a port or for promiscuous mode changed.
    """
    family, _, _, flags, change = _IFINFO.unpack_from(body)
    found = attributes(body, _IFINFO.size)
    name = string(found.get(_IFNAME, b""))
    if kind == DELLINK or family == _BRIDGE or not flags & UP or change & (UP | PROMISCUOUS):
        return name
    veth = attributes(found.get(_LINKINFO, b"")).get(_INFO_KIND) == b"veth\0"
    return name if veth and _MASTER not in found else ""


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


def _which(link: int | str, flags: int = 0, change: int = 0) -> bytes:
    """The header of a message about a link that is given by index or name."""
    if isinstance(link, int):
        return _ifinfo(link, flags, change)
    return _ifinfo(0, flags, change) + text(_IFNAME, link)


def _port_vlan(port: int, vid: int, flags: int) -> bytes:
    on_master = attribute(_VLAN_FLAGS, struct.pack("=H", _ON_MASTER))
    info = attribute(_VLAN_INFO, _VLAN.pack(flags, vid))
    return _IFINFO.pack(_BRIDGE, 0, port, 0, 0) + nest(_AF_SPEC, on_master, info)


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


def _found(socket: Netlink, index: int, name: str | None = None) -> Link | None:
    header = _IFINFO.pack(0, 0, index, 0, 0)
    request = header + (b"" if name is None else text(_IFNAME, name)) + _WITHOUT_STATISTICS
    try:
        return _link(socket.ask(Message(_GETLINK, 0, request)))
    except NetlinkError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = _IFINFO.unpack_from(body)
    found = attributes(body, _IFINFO.size)
    info = attributes(found.get(_LINKINFO, b""))
    port = attributes(info[_INFO_SLAVE_DATA]) if info.get(_INFO_SLAVE_KIND) == b"bridge\0" else {}
    bridge = attributes(info[_INFO_DATA]) if info.get(_INFO_KIND) == b"bridge\0" and _INFO_DATA in info else {}
    return Link(
        index=index,
        name=string(found[_IFNAME]),
        kind=string(info.get(_INFO_KIND, b"")),
        mac=found.get(_ADDRESS, b"").hex(":"),
        mtu=number(found[_MTU]),
        up=bool(flags & UP),
        operational=found.get(_OPERSTATE) == bytes([_OPERATIONAL]),
        promiscuity=number(found.get(_PROMISCUITY, b"\0")),
        master=number(found.get(_MASTER, b"\0")),
        peer=number(found.get(_LINK, b"\0")),
        forwarding=port.get(_BRPORT_STATE) == _FORWARDING,
        hairpin=port.get(_BRPORT_MODE) == b"\1",
        loopback=bool(flags & _LOOPBACK),
        isolated=port.get(_BRPORT_ISOLATED) == b"\1",
        spanning=bool(number(bridge.get(_BR_STP_STATE, b"\0"))),
        all_multicast=bool(flags & ALL_MULTICAST),
        queue=number(found.get(_TXQLEN, b"\0")),
    )
