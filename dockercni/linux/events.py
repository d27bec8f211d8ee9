"""Events of the kernel that mean that something of ours is gone or out of place, as they happen.

Links, addresses, routes and forwarding (linux/rtnetlink.h, linux/if_link.h, linux/netconf.h), and rules of nftables,
iptables-nft included (linux/netfilter/nf_tables.h).
"""

from __future__ import annotations

import socket
import struct
import time
from typing import Final

from dockercni.linux import links
from dockercni.linux.netlink import NETFILTER, NFGENMSG_SIZE, ROUTE, Subscription, attributes, messages, number

EVERYTHING: Final = "*"  # in place of a link's name, which it cannot be: all of them, or events were lost

_ROUTE_GROUPS: Final = (1, 5, 7, 9, 11, 24, 25)  # links; addresses and routes of IPv4; of IPv6; netconf of both
_DELADDR, _DELROUTE, _NEWNETCONF = 21, 25, 80
_IFADDR_INDEX: Final = 4
_RTMSG, _RTA_OIF = 12, 4
_NETCONF, _NETCONF_INDEX, _NETCONF_FORWARDING = 4, 1, 2
_ALL: Final = -1  # the index that stands for all links
_ROOM: Final = 1 << 20  # bytes: a burst of fifty starts is some hundreds of events

_NFTABLES_GROUP: Final = 7
_SUBSYSTEM: Final = 10
_NEW_CHAIN, _NEW_RULE = 3, 6
_DELETIONS: Final = frozenset({2, 5, 8})  # NFT_MSG_DELTABLE, DELCHAIN, DELRULE
_TABLE: Final = 1  # the attribute of chains and rules; the name of the chain is these
_NAME: Final = {_NEW_CHAIN: 3, _NEW_RULE: 2}


class LinkEvents(Subscription):
    """What links lose: themselves, their state, their master, addresses, routes, forwarding."""

    def __init__(self) -> None:
        super().__init__(ROUTE, _ROUTE_GROUPS, _ROOM)

    def wait(self, quiet: float, longest: float) -> set[str]:
        """The names of the links that lost something, or EVERYTHING.

        Waits for the first loss, and then until there was none for `quiet` seconds, but no more than `longest`.
        """
        found: set[str] = set()
        deadline = 0.0
        while True:
            now = time.monotonic()
            if found and now >= deadline:
                return found
            if not self.ready(min(quiet, deadline - now) if found else None):
                return found
            first = not found
            for data in self.read():
                found |= {EVERYTHING} if data is None else losses(data)
            if first and found:
                deadline = time.monotonic() + longest


class RuleEvents(Subscription):
    """Deletions of any kind, and any change of the FORWARD chain of iptables.

    A Docker that starts, or makes a network, puts its own jumps on top of FORWARD, and a policy may become DROP. Our
    own changes are reported as well: the repair that they cause finds nothing to change, and so that ends.
    """

    def __init__(self) -> None:
        super().__init__(NETFILTER, [_NFTABLES_GROUP])

    def wait(self, seconds: float | None) -> bool:
        """Wait until something of concern happened, or was lost (True), or the time is over (False)."""
        while self.ready(seconds):
            datagrams = list(self.read())  # all, so that the rest does not count the next time
            if any(data is None or concerns(data) for data in datagrams):
                return True
        return False


def losses(data: bytes) -> set[str]:
    """The names of the links that lost something, by a datagram of events."""
    found = set()
    for kind, _, _, body in messages(data):
        if kind in {links.NEWLINK, links.DELLINK}:
            found.add(links.lost(kind, body))
        elif kind == _DELADDR:
            found.add(_name(struct.unpack_from("=i", body, _IFADDR_INDEX)[0]))
        elif kind == _DELROUTE:
            found.add(_name(number(attributes(body, _RTMSG).get(_RTA_OIF, b""))))
        elif kind == _NEWNETCONF:
            found.add(_of_settings(body))
    return found - {""}


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


def concerns(data: bytes) -> bool:
    """Whether one of the messages is a deletion, or about the FORWARD chain of a table of iptables."""
    return any(kind >> 8 == _SUBSYSTEM and _concerns(kind & 0xFF, body) for kind, _, _, body in messages(data))


def _concerns(kind: int, body: bytes) -> bool:
    if kind in _DELETIONS:
        return True
    if kind not in _NAME:
        return False
    found = attributes(body, NFGENMSG_SIZE)
    return (found.get(_TABLE), found.get(_NAME[kind])) == (b"filter\0", b"FORWARD\0")
