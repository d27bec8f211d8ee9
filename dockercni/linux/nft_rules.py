"""Rules of iptables-nft and of our own table, looked at over netlink: whether something is there, and how many.

No process is started, and libnftables is not asked: to list one chain it reads every element of the machine's sets.

Formats: linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import errno
import struct
from collections import Counter
from typing import Final

from dockercni.linux.netfilter import netfilter
from dockercni.linux.netlink import Message, NetlinkError, attributes, string, text

_SUBSYSTEM: Final = 10
_GET_CHAIN, _GET_RULE = (_SUBSYSTEM << 8 | number for number in (4, 7))
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_POLICY = 1, 3, 5
_RULE_TABLE, _RULE_CHAIN = 1, 2
_ACCEPT: Final = 1
_NFGENMSG: Final = struct.Struct(">BBH")

_FAMILIES: Final = {4: 2, 6: 10}  # "ip" and "ip6"
_INET: Final = 1


def policy(version: int, chain: str) -> bool | None:
    """Whether a chain of table `filter` lets pass what no rule decides on (one without policy does).

    None if it is missing. Raises NetlinkError.
    """
    request = _header(version) + text(_CHAIN_TABLE, "filter") + text(_CHAIN_NAME, chain)
    try:
        with netfilter() as socket:
            body = socket.ask(Message(_GET_CHAIN, 0, request))
    except NetlinkError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    code = attributes(body, _NFGENMSG.size).get(_CHAIN_POLICY)
    return code is None or int.from_bytes(code, "big") == _ACCEPT


def rules(version: int, chain: str) -> list[bytes]:
    """The rules of a chain of table `filter`, as the kernel stores them; comments stand in them as text.

    Raises NetlinkError.
    """
    request = _header(version) + text(_RULE_TABLE, "filter") + text(_RULE_CHAIN, chain)
    with netfilter() as socket:
        return socket.dump(Message(_GET_RULE, 0, request))


def numbers(table: str) -> Counter[str]:
    """How many rules each chain of a table of family inet has. Raises NetlinkError."""
    request = _NFGENMSG.pack(_INET, 0, 0) + text(_RULE_TABLE, table)
    with netfilter() as socket:
        listed = [attributes(body, _NFGENMSG.size) for body in socket.dump(Message(_GET_RULE, 0, request))]
    return Counter(string(rule[_RULE_CHAIN]) for rule in listed if string(rule[_RULE_TABLE]) == table)


def _header(version: int) -> bytes:
    return _NFGENMSG.pack(_FAMILIES[version], 0, 0)
