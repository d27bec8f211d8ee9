"""In a container's namespace: leads 127.0.0.11:53 to the ports at which the resolver listens there.

A redirect, and no socket on port 53, so that a DNS server in the container can listen on 0.0.0.0:53. It is a table with
one chain in the nat hook for outgoing packets; conntrack turns the answers round. Straight over netlink, because
libnftables takes 20 ms for it, while an entrypoint may be waiting.

Formats: linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import errno
import ipaddress
import struct
from typing import Final

from dockercni.linux.netlink import (
    APPEND,
    CREATE,
    EXCL,
    NETFILTER,
    Message,
    Netlink,
    NetlinkError,
    attribute,
    be32,
    nest,
    nfgenmsg,
    text,
)
from dockercni.linux.netns import Namespace

ADDRESS: Final = ipaddress.IPv4Address("127.0.0.11")
TABLE: Final = "dockercni-dns"

_CHAIN: Final = "output"
_DNS: Final = 53
_UDP: Final = 17
_TCP: Final = 6
_IPV4: Final = 2
_SUBSYSTEM: Final = 10
_NEW_TABLE, _DELETE_TABLE, _NEW_CHAIN, _NEW_RULE = (_SUBSYSTEM << 8 | number for number in (0, 2, 3, 6))
_BEGIN: Final = Message(0x10, 0, nfgenmsg(resource=_SUBSYSTEM))
_END: Final = Message(0x11, 0, nfgenmsg(resource=_SUBSYSTEM))
_LOCAL_OUT: Final = 3  # NF_INET_LOCAL_OUT
_PRIORITY: Final = -100 & 0xFFFFFFFF  # NF_IP_PRI_NAT_DST
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_DESTINATION: Final = 16  # offset in the IPv4 header
_DESTINATION_PORT: Final = 2  # offset in the TCP and UDP header
_L4PROTO: Final = 16  # NFT_META_L4PROTO
_DNAT: Final = 1  # NFT_NAT_DNAT
_PORT: Final = struct.Struct("!H")


def apply(namespace: Namespace, udp: int, tcp: int) -> None:
    """Redirect in that namespace, in place of an earlier redirect. Raises OSError (no nftables, no nat in it)."""

    def work() -> None:
        with Netlink(NETFILTER) as socket:
            messages = _messages(udp, tcp)
            try:
                socket.batch(_BEGIN, messages, _END)
            except NetlinkError as error:
                if error.errno != errno.EEXIST:
                    raise
                delete = Message(_DELETE_TABLE, 0, nfgenmsg(_IPV4) + text(1, TABLE))
                socket.batch(_BEGIN, [delete, *messages], _END)

    namespace.run(work)


def _messages(udp: int, tcp: int) -> list[Message]:
    table = Message(_NEW_TABLE, CREATE | EXCL, nfgenmsg(_IPV4) + text(1, TABLE))
    hook = nest(4, be32(1, _LOCAL_OUT), be32(2, _PRIORITY))
    chain = nfgenmsg(_IPV4) + text(1, TABLE) + text(3, _CHAIN) + hook + text(7, "nat")
    rules = [_rule(_UDP, udp), _rule(_TCP, tcp)]
    return [table, Message(_NEW_CHAIN, CREATE, chain), *rules]


def _rule(protocol: int, port: int) -> Message:
    """ip daddr ADDRESS meta l4proto PROTOCOL th dport 53 dnat to ADDRESS:PORT"""
    expressions = (
        _payload(_NETWORK_HEADER, _DESTINATION, 4),
        _equal(ADDRESS.packed),
        _expression("meta", be32(1, 1), be32(2, _L4PROTO)),
        _equal(bytes([protocol])),
        _payload(_TRANSPORT_HEADER, _DESTINATION_PORT, 2),
        _equal(_PORT.pack(_DNS)),
        _expression("immediate", be32(1, 1), nest(2, _value(ADDRESS.packed))),
        _expression("immediate", be32(1, 2), nest(2, _value(_PORT.pack(port)))),
        _expression("nat", be32(1, _DNAT), be32(2, _IPV4), be32(3, 1), be32(5, 2)),
    )
    return Message(
        _NEW_RULE, CREATE | APPEND, nfgenmsg(_IPV4) + text(1, TABLE) + text(2, _CHAIN) + nest(4, *expressions)
    )


def _payload(base: int, offset: int, length: int) -> bytes:
    """Load a part of a header into register 1."""
    return _expression("payload", be32(1, 1), be32(2, base), be32(3, offset), be32(4, length))


def _equal(value: bytes) -> bytes:
    """Go on if register 1 has that value."""
    return _expression("cmp", be32(1, 1), be32(2, 0), nest(3, _value(value)))


def _value(value: bytes) -> bytes:
    return attribute(1, value)


def _expression(name: str, *attributes: bytes) -> bytes:
    return nest(1, text(1, name), nest(2, *attributes))
