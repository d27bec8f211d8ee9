"""Elements of nftables sets and maps, and counts of rules, straight over netlink.

What a change costs does not depend on what is there: libnftables would read every set of the machine first.

Formats: linux/netfilter/nf_tables.h; the comment stands where nft(8) puts and shows it.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dockercni.linux import netlink
from dockercni.linux.netlink import (
    NFGENMSG_SIZE,
    Message,
    NetlinkError,
    attribute,
    attributes,
    be32,
    items,
    nest,
    netfilter,
    nfgenmsg,
    text,
)

RETURN: Final = -5  # verdicts
DROP: Final = 0

COMMENT_LIMIT: Final = 127  # nft(8) takes 128 with the final NUL

_INET: Final = 1
_SUBSYSTEM: Final = 10
_GET_RULE, _GET_SET, _NEW, _GET, _DELETE = (_SUBSYSTEM << 8 | number for number in (7, 10, 12, 13, 14))
_RULE_TABLE, _RULE_CHAIN = 1, 2
_TABLE, _SET, _ELEMENTS = 1, 2, 3
_LIST_ELEMENT: Final = 1
_SET_NAME: Final = 2
_KEY, _DATA, _USERDATA = 1, 2, 6
_VALUE, _VERDICT = 1, 2
_CODE, _CHAIN = 1, 2
_COMMENT: Final = 0
_ROOM: Final = 0xFFFF - 4  # bytes in one attribute
_BEGIN: Final = Message(0x10, 0, nfgenmsg(resource=_SUBSYSTEM))  # linux/netfilter/nfnetlink.h
_END: Final = Message(0x11, 0, nfgenmsg(resource=_SUBSYSTEM))


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict of a map: DROP, RETURN, or a jump to `chain`; jumps are read and never written."""

    code: int
    chain: str = ""


@dataclass(frozen=True, slots=True)
class Element:
    """An element as the kernel has it: the fields of key and data are padded to four bytes each."""

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
        messages = [*self._messages(_DELETE, 0, delete, whole=False)]
        messages += self._messages(_NEW, netlink.CREATE | netlink.EXCL, add, whole=True)
        if messages:
            with netfilter() as socket:
                socket.batch(_BEGIN, messages, _END)

    def find(self, elements: Sequence[Element]) -> list[Element]:
        """The elements of the table with the set and key of one of `elements`."""
        found: list[Element] = []
        asked = [Message(_GET, 0, self._body(each.set, _entry(each, whole=False))) for each in elements]
        with netfilter() as socket:
            for element, answer in zip(elements, socket.ask_each(asked), strict=True):
                if isinstance(answer, bytes):
                    found += _read(element.set, answer)
                elif answer.errno != errno.ENOENT:
                    raise answer
        return found

    def every(self, name: str) -> list[Element]:
        """All elements of one set. Costs time for each of them."""
        request = nfgenmsg(_INET) + text(_TABLE, self.name) + text(_SET, name)
        with netfilter() as socket:
            return [element for body in socket.dump(Message(_GET, 0, request)) for element in _read(name, body)]

    def sets(self) -> list[str]:
        """The names of all sets and maps; none if there is no such table."""
        request = nfgenmsg(_INET) + text(_TABLE, self.name)
        with netfilter() as socket:
            try:
                listed = socket.dump(Message(_GET_SET, 0, request))
            except NetlinkError as error:
                if error.errno != errno.ENOENT:
                    raise
                return []
        return [netlink.string(attributes(body, NFGENMSG_SIZE)[_SET_NAME]) for body in listed]

    def rules(self) -> Counter[str]:
        """How many rules each chain has."""
        request = nfgenmsg(_INET) + text(_RULE_TABLE, self.name)
        with netfilter() as socket:
            listed = [attributes(body, NFGENMSG_SIZE) for body in socket.dump(Message(_GET_RULE, 0, request))]
        names = ((netlink.string(rule[_RULE_TABLE]), netlink.string(rule[_RULE_CHAIN])) for rule in listed)
        return Counter(chain for table, chain in names if table == self.name)

    def _messages(self, kind: int, flags: int, elements: Iterable[Element], *, whole: bool) -> Iterator[Message]:
        """As few messages as possible: each has elements of one set, up to the size of an attribute."""
        for name, entries in _by_set(elements, whole=whole).items():
            part: list[bytes] = []
            size = 0
            for entry in entries:
                if size + len(entry) > _ROOM:
                    yield Message(kind, flags, self._body(name, *part))
                    part, size = [], 0
                part.append(entry)
                size += len(entry)
            yield Message(kind, flags, self._body(name, *part))

    def _body(self, name: str, *entries: bytes) -> bytes:
        listed = nest(_ELEMENTS, *entries)
        return nfgenmsg(_INET) + text(_TABLE, self.name) + text(_SET, name) + listed


def _by_set(elements: Iterable[Element], *, whole: bool) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for element in elements:
        found.setdefault(element.set, []).append(_entry(element, whole=whole))
    return found


def _entry(element: Element, *, whole: bool) -> bytes:
    """An element as an item of a list: only its key, or the whole of it."""
    parts = [nest(_KEY, attribute(_VALUE, element.key))]
    if whole:
        if isinstance(element.data, Verdict):
            parts.append(nest(_DATA, nest(_VERDICT, be32(_CODE, element.data.code & 0xFFFFFFFF))))
        elif element.data is not None:
            parts.append(nest(_DATA, attribute(_VALUE, element.data)))
        comment = element.comment.encode()[:COMMENT_LIMIT] + b"\0"
        parts.append(attribute(_USERDATA, bytes([_COMMENT, len(comment)]) + comment))
    return nest(_LIST_ELEMENT, *parts)


def _read(name: str, body: bytes) -> list[Element]:
    listed = attributes(body, NFGENMSG_SIZE).get(_ELEMENTS, b"")
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
