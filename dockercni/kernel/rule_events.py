"""The kernel's word that nftables rules were deleted (iptables-nft's included), as it happens."""

from __future__ import annotations

import errno
import select
import socket
import struct
from typing import Final, Self

_NETLINK_NETFILTER: Final = 12
_SOL_NETLINK: Final = 270
_NETLINK_ADD_MEMBERSHIP: Final = 1
_NFNLGRP_NFTABLES: Final = 7
_DELETIONS: Final = frozenset({2, 5, 8})  # NFT_MSG_DELTABLE, DELCHAIN, DELRULE
_HEADER: Final = struct.Struct("=IHHII")  # struct nlmsghdr


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
        """Wait until something was deleted (True), or the time is over. Events that got lost count as deletions."""
        while True:
            if not self._poll.poll(None if seconds is None else seconds * 1000):
                return False
            if self._deleted():
                return True

    def _deleted(self) -> bool:
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
            found = found or any(kind & 0xFF in _DELETIONS for kind in _kinds(data))


def _kinds(data: bytes) -> list[int]:
    kinds, start = [], 0
    while start + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, start)
        kinds.append(kind)
        start += max(_HEADER.size, (length + 3) & ~3)
    return kinds
