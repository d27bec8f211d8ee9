"""Elements of nftables sets and maps, straight over netlink: what a change costs does not depend on what is there.

Formats: linux/netfilter/nf_tables.h; the comment stands where nft(8) puts and shows it.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from dockercni.kernel import netlink
from dockercni.kernel.netfilter import netfilter
from dockercni.kernel.netlink import Message, NetlinkError, attribute, attributes, be32, items, nest, text

RETURN: Final = -5  # verdicts
DROP: Final = 0

COMMENT_LIMIT: Final = 127  # nft(8) takes 128 with the final NUL

_INET: Final = 1
_SUBSYSTEM: Final = 10
_GET_SET, _NEW, _GET, _DELETE = (_SUBSYSTEM << 8 | number for number in (10, 12, 13, 14))
_TABLE, _SET, _ELEMENTS = 1, 2, 3
_LIST_ELEMENT: Final = 1
_SET_NAME: Final = 2
_KEY, _DATA, _USERDATA = 1, 2, 6
_VALUE, _VERDICT = 1, 2
_CODE, _CHAIN = 1, 2
_COMMENT: Final = 0
_NFGENMSG: Final = struct.Struct(">BBH")
_BEGIN: Final = Message(0x10, 0, _NFGENMSG.pack(0, 0, _SUBSYSTEM))  # linux/netfilter/nfnetlink.h
_END: Final = Message(0x11, 0, _NFGENMSG.pack(0, 0, _SUBSYSTEM))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verdict map decides: DROP, RETURN, or to go to `chain`, which is read and never written."""

    code: int
    chain: str = ""


@dataclass(frozen=True, slots=True)
class Element:
    """An element as the kernel has it: the fields of its key (and of its data) padded to four bytes each."""

    set: str
    key: bytes
    data: bytes | Verdict | None = None
    comment: str = ""


class Table:
    """A table of family inet. Thread-safe. Methods raise NetlinkError."""

    def __init__(self, name: str) -> None:
        self.name = name

    def change(self, *, delete: Iterable[Element] = (), add: Iterable[Element] = ()) -> None:
        """Delete and add elements in one transaction.

        ENOENT: the table, a set, a chain or an element to delete is missing. EEXIST: an element to add is there.
        """
        removed = [Message(_DELETE, 0, self._body(element, whole=False)) for element in delete]
        added = [Message(_NEW, netlink.CREATE | netlink.EXCL, self._body(element, whole=True)) for element in add]
        if messages := removed + added:
            with netfilter() as socket:
                socket.batch(_BEGIN, messages, _END)

    def find(self, elements: Sequence[Element]) -> list[Element]:
        """Those elements of the table that have the set and key of one of `elements`."""
        found: list[Element] = []
        with netfilter() as socket:
            for element in elements:
                try:
                    found += _read(element.set, socket.ask(Message(_GET, 0, self._body(element, whole=False))))
                except NetlinkError as error:
                    if error.errno != errno.ENOENT:
                        raise
        return found

    def every(self, name: str) -> list[Element]:
        """All elements of one set. Costs time for each of them."""
        request = _NFGENMSG.pack(_INET, 0, 0) + text(_TABLE, self.name) + text(_SET, name)
        with netfilter() as socket:
            return [element for body in socket.dump(Message(_GET, 0, request)) for element in _read(name, body)]

    def sets(self) -> list[str]:
        """The names of all sets and maps; none if there is no such table."""
        request = _NFGENMSG.pack(_INET, 0, 0) + text(_TABLE, self.name)
        with netfilter() as socket:
            try:
                listed = socket.dump(Message(_GET_SET, 0, request))
            except NetlinkError as error:
                if error.errno != errno.ENOENT:
                    raise
                return []
        return [netlink.string(attributes(body, _NFGENMSG.size)[_SET_NAME]) for body in listed]

    def _body(self, element: Element, *, whole: bool) -> bytes:
        parts = [nest(_KEY, attribute(_VALUE, element.key))]
        if whole:
            if isinstance(element.data, Verdict):
                parts.append(nest(_DATA, nest(_VERDICT, be32(_CODE, element.data.code & 0xFFFFFFFF))))
            elif element.data is not None:
                parts.append(nest(_DATA, attribute(_VALUE, element.data)))
            comment = element.comment.encode()[:COMMENT_LIMIT] + b"\0"
            parts.append(attribute(_USERDATA, bytes([_COMMENT, len(comment)]) + comment))
        listed = nest(_ELEMENTS, nest(_LIST_ELEMENT, *parts))
        return _NFGENMSG.pack(_INET, 0, 0) + text(_TABLE, self.name) + text(_SET, element.set) + listed


def _read(name: str, body: bytes) -> list[Element]:
    listed = attributes(body, _NFGENMSG.size).get(_ELEMENTS, b"")
    return [_element(name, attributes(one)) for kind, one in items(listed) if kind == _LIST_ELEMENT]


def _element(name: str, parts: dict[int, bytes]) -> Element:
    userdata = parts.get(_USERDATA, b"")
    comment = userdata[2 : 2 + userdata[1]].rstrip(b"\0") if userdata[:1] == bytes([_COMMENT]) else b""
    key, data = attributes(parts[_KEY])[_VALUE], _data(attributes(parts.get(_DATA, b"")))
    return Element(name, key, data, comment.decode(errors="replace"))


def _data(parts: dict[int, bytes]) -> bytes | Verdict | None:
    if _VERDICT not in parts:
        return parts.get(_VALUE)
    verdict = attributes(parts[_VERDICT])
    code = int.from_bytes(verdict[_CODE], "big", signed=True)
    return Verdict(code, netlink.string(verdict.get(_CHAIN, b"")))
