"""The kernel's word on changes of nftables rules that concern us (iptables-nft's included), as it happens.

Those are deletions of any kind, and what is done to the FORWARD chain of iptables: a Docker that starts, or makes a
network, puts its own jumps on top, and a policy may become DROP. Our own changes are told as well; whoever looks
because of them finds nothing to change, and so that ends.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
from typing import Final, Self

from dockercni.linux.netlink import attributes

_NETLINK_NETFILTER: Final = 12
_SOL_NETLINK: Final = 270
_NETLINK_ADD_MEMBERSHIP: Final = 1
_NFNLGRP_NFTABLES: Final = 7
_SUBSYSTEM: Final = 10
_NEW_CHAIN, _NEW_RULE = 3, 6
_DELETIONS: Final = frozenset({2, 5, 8})  # NFT_MSG_DELTABLE, DELCHAIN, DELRULE
_TABLE: Final = 1  # the attribute of chains and rules; the name of the chain is these
_NAME: Final = {_NEW_CHAIN: 3, _NEW_RULE: 2}
_HEADER: Final = struct.Struct("=IHHII")  # struct nlmsghdr
_NFGENMSG: Final = 4  # bytes


class RuleEvents:
    """A subscription to NFNLGRP_NFTABLES in the network namespace of the thread that made it. Raises OSError."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def wait(self, seconds: float | None) -> bool:
        """Wait until something of concern happened (True), or the time is over. Events that got lost count as such."""
        while True:
            if not self._poll.poll(None if seconds is None else seconds * 1000):
                return False
            if self._concerned():
                return True

    def _concerned(self) -> bool:
        found = False
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                found = True
                continue
            found = found or concerns(data)


def concerns(data: bytes) -> bool:
    """Whether one of the messages is a deletion, or about the FORWARD chain of a table of iptables."""
    start = 0
    while start + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, start)
        if kind >> 8 == _SUBSYSTEM and _concerns(kind & 0xFF, data[start + _HEADER.size : start + length]):
            return True
        start += max(_HEADER.size, (length + 3) & ~3)
    return False


def _concerns(kind: int, body: bytes) -> bool:
    if kind in _DELETIONS:
        return True
    if kind not in _NAME:
        return False
    found = attributes(body, _NFGENMSG)
    return (found.get(_TABLE), found.get(_NAME[kind])) == (b"filter\0", b"FORWARD\0")
