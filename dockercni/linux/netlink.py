"""Netlink by hand, where speed counts, in ADD, DEL and reconciling: functions build messages, a socket sends them.

A message and its answer take 20 to 30 us this way, and the import next to nothing. pyroute2's IPRoute takes 0.3 ms and
more to open, and 95 ms and 24 MiB to import, which the daemon and each start of a plugin as an executable would pay. So
pyroute2 serves commands and tests. `links`, `addr`, `nft_elements`, `conntrack` and `events` are the families; each
format stands in one of them.
Formats: linux/netlink.h, RFC 3549.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

ROUTE: Final = 0  # netlink families
NETFILTER: Final = 12

ACK: Final = 0x4
DUMP: Final = 0x300
EXCL: Final = 0x200
CREATE: Final = 0x400
APPEND: Final = 0x800

_REQUEST: Final = 0x1
_DUMP_INTERRUPTED: Final = 0x10
_TLVS: Final = 0x200  # in an acknowledgement: attributes with the kernel's message follow
_ERROR: Final = 2
_DONE: Final = 3
_NESTED: Final = 0x8000
_TYPE_MASK: Final = 0x3FFF
_SOL_NETLINK: Final = 270
_OPTIONS: Final = (10, 11, 12)  # NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK (dumps honour filters)
_ERROR_WORDS: Final = 1
_BUFFER: Final = 1 << 15  # the kernel's own limit for one datagram of answers
_WINDOW: Final = 32  # requests at a time: the buffer for their answers has room for 270 of the smallest
_SEND_BUFFER_FORCE: Final = 32  # SO_SNDBUFFORCE: a datagram must be smaller than that buffer
_RETRIES: Final = 10
_PATIENCE: Final = struct.pack("@ll", 60, 0)  # seconds for an answer, which normally is there at once

_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_CODE: Final = struct.Struct("=i")
_NFGENMSG: Final = struct.Struct(">BBH")
NFGENMSG_SIZE: Final = _NFGENMSG.size
_ADD_MEMBERSHIP: Final = 1
_EVENTS_BUFFER: Final = 1 << 16  # bytes: one datagram of events


class NetlinkError(OSError):
    """The kernel refused; `errno` says why, the text has the kernel's own message as well, if there is one.

    `index` is the position of the refused message among those that were sent together.
    """

    def __init__(self, code: int, words: str = "", index: int = 0) -> None:
        text = os.strerror(code).lower()
        super().__init__(code, f"{text} ({words})" if words else text)
        self.index = index

    def __str__(self) -> str:
        return str(self.strerror)


@dataclass(frozen=True, slots=True)
class Message:
    """A request: its type, its flags besides those that every request has, and what follows the header."""

    kind: int
    flags: int
    body: bytes


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    size = len(value) + 4
    return _ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4)


def nest(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds others."""
    return attribute(kind | _NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """A string attribute, with its final NUL."""
    return attribute(kind, os.fsencode(value) + b"\0")


def u32(kind: int, value: int) -> bytes:
    """A 32-bit attribute in the machine's byte order, as rtnetlink has them."""
    return attribute(kind, value.to_bytes(4, "little" if _LITTLE else "big"))


def be32(kind: int, value: int) -> bytes:
    """A 32-bit attribute in network byte order, as netfilter has them."""
    return attribute(kind, value.to_bytes(4, "big"))


def items(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """The attributes in `data` from `start` on."""
    end = len(data)
    while start + 4 <= end:
        size, kind = _ATTRIBUTE.unpack_from(data, start)
        if size < 4:
            return
        yield kind & _TYPE_MASK, data[start + 4 : start + size]
        start += size + (-size % 4)


def attributes(data: bytes, start: int = 0) -> dict[int, bytes]:
    """The attributes in `data` from `start` on, by type."""
    found: dict[int, bytes] = {}  # `items` inlined: a link has fifty attributes, and an ADD asks for seven links
    unpack, end = _ATTRIBUTE.unpack_from, len(data) - 3
    while start < end:
        size, kind = unpack(data, start)
        if size < 4:
            break
        found[kind & _TYPE_MASK] = data[start + 4 : start + size]
        start += size + 3 & -4
    return found


def number(value: bytes) -> int:
    """The integer of an attribute in the machine's byte order."""
    return int.from_bytes(value, "little" if _LITTLE else "big")


def string(value: bytes) -> str:
    """The text of a string attribute."""
    return os.fsdecode(value.rstrip(b"\0"))


class Netlink:
    """A netlink socket in the namespace of the thread that opens it. Any thread may use it, one at a time.

    A context manager. Every method raises NetlinkError.
    """

    def __init__(self, family: int = ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        self._sequence = 0
        for option in _OPTIONS:
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def do(self, *messages: Message) -> None:
        """Send `messages`, which the kernel handles in order; raises the first refusal, after handling the others."""
        if failures := self.try_all(messages):
            raise failures[0]

    def try_all(self, messages: Sequence[Message]) -> list[NetlinkError]:
        """Send `messages`, which the kernel handles in order; returns the refusals."""
        failures = []
        for start in range(0, len(messages), _WINDOW):
            asked = [Message(each.kind, each.flags | ACK, each.body) for each in messages[start : start + _WINDOW]]
            first = self._send(asked)
            failures += self._failures(first, first + len(asked) - 1, first, start)
        return failures

    def batch(self, begin: Message, messages: Sequence[Message], end: Message) -> None:
        """Send `messages` as one netfilter transaction, between `begin` and `end`.

        Only the last one asks for an acknowledgement, which comes after all refusals. One for each would overflow the
        buffer for answers, and the kernel would report "No buffer space available" for a batch that it carried out.
        """
        *before, last = messages
        first = self._send([begin, *before, Message(last.kind, last.flags | ACK, last.body), end])
        if failures := self._failures(first, first + len(messages), first + len(messages), -1):
            raise failures[0]

    def _failures(self, first: int, last: int, waiting_from: int, index: int) -> list[NetlinkError]:
        """The refusals of the requests `first` to `last`; those from `waiting_from` on are acknowledged.

        `index` is the index of the first one.
        """
        waiting = set(range(waiting_from, last + 1))
        failures = []
        while waiting:
            for kind, flags, sequence, payload in self._receive():
                if kind != _ERROR or not first <= sequence <= last:
                    continue
                waiting.discard(sequence)
                if error := _failure(flags, payload, sequence - first + index):
                    failures.append(error)
                    if error.index < 0:  # a transaction that was refused as a whole: there will be no other answer
                        return failures
        return failures

    def ask_each(self, messages: Sequence[Message]) -> Iterator[bytes | NetlinkError]:
        """The body of the one answer to each of `messages`, or its refusal; sends several at a time."""
        for start in range(0, len(messages), _WINDOW):
            window = messages[start : start + _WINDOW]
            first = self._send(window)
            answers: dict[int, bytes | NetlinkError] = {}
            while len(answers) < len(window):
                for kind, flags, sequence, payload in self._receive():
                    if first <= sequence < first + len(window):
                        refused = _failure(flags, payload, sequence - first + start) if kind == _ERROR else None
                        answers[sequence] = refused or payload
            yield from (answers[sequence] for sequence in sorted(answers))

    def ask(self, message: Message) -> bytes:
        """The body of the one answer to `message`."""
        sequence = self._send([message])
        while True:
            for kind, flags, answered, payload in self._receive():
                if answered != sequence:
                    continue
                if kind != _ERROR:
                    return payload
                if error := _failure(flags, payload, 0):
                    raise error

    def dump(self, message: Message) -> list[bytes]:
        """The bodies of all answers to `message`, a dump; repeats it if the list changed meanwhile."""
        for _ in range(_RETRIES):
            complete, found = self._dump(Message(message.kind, message.flags | DUMP, message.body))
            if complete:
                break
        return found

    def some(self, message: Message) -> list[bytes]:
        """The bodies of the first answers to `message`, a dump; the socket is useless afterwards."""
        self._send([Message(message.kind, message.flags | DUMP, message.body)])
        return [payload for kind, _, _, payload in self._receive() if kind not in {_ERROR, _DONE}]

    def _dump(self, message: Message) -> tuple[bool, list[bytes]]:
        sequence = self._send([message])
        found: list[bytes] = []
        complete = True
        while True:
            for kind, flags, answered, payload in self._receive():
                if answered != sequence:
                    continue
                complete = complete and not flags & _DUMP_INTERRUPTED
                if kind in {_ERROR, _DONE}:
                    if len(payload) >= 4 and (error := _failure(flags, payload, 0)):
                        raise error
                    return complete, found
                found.append(payload)

    def _send(self, messages: Sequence[Message]) -> int:
        first = self._sequence + 1
        data = bytearray()
        for each in messages:
            self._sequence += 1
            size = _HEADER.size + len(each.body)
            data += _HEADER.pack(size, each.kind, each.flags | _REQUEST, self._sequence, 0)
            data += each.body
            data += bytes(-size % 4)
        self._deliver(data)
        return first

    def _deliver(self, data: bytearray) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            # A transaction cannot be divided, and CAP_NET_ADMIN, which changing rules takes anyway, exceeds wmem_max.
            self._socket.setsockopt(socket.SOL_SOCKET, _SEND_BUFFER_FORCE, len(data) + _BUFFER)
            self._socket.send(data)

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        return messages(self._socket.recv(_BUFFER))


class Subscription:
    """A subscription to multicast groups of the kernel, in the namespace of the thread that opens it. Raises OSError.

    Speed does not matter here, but memory does: importing pyroute2 for it would cost the daemon 30 MiB of its 75.
    """

    def __init__(self, family: int, groups: Iterable[int], room: int = 0) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        if room:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self._socket.bind((0, 0))
        for group in groups:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ready(self, seconds: float | None) -> bool:
        """Wait for events; whether there are any, or the time is over."""
        return bool(self._poll.poll(None if seconds is None else seconds * 1000))

    def read(self) -> Iterator[bytes | None]:
        """The datagrams of events that have come; None where the kernel dropped some (ENOBUFS)."""
        while True:
            try:
                yield self._socket.recv(_EVENTS_BUFFER)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield None


_netfilter_lock: Final = threading.Lock()
_netfilter: Final[list[Netlink]] = []


@contextmanager
def netfilter() -> Iterator[Netlink]:
    """This process's one netfilter socket, for one user at a time. Raises OSError.

    It belongs to the namespace of the thread that used it first. It is never closed: the kernel would first wait until
    everything that any process deleted is freed, which takes 15 ms.
    """
    with _netfilter_lock:
        if not _netfilter:
            _netfilter.append(Netlink(NETFILTER))
        yield _netfilter[0]


def nfgenmsg(family: int = 0, resource: int = 0) -> bytes:
    """The header of a netfilter message (struct nfgenmsg of linux/netfilter/nfnetlink.h)."""
    return _NFGENMSG.pack(family, 0, resource)


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The type, flags, sequence number and body of each message in a datagram."""
    start = 0
    while start + _HEADER.size <= len(data):
        size, kind, flags, sequence, _ = _HEADER.unpack_from(data, start)
        yield kind, flags, sequence, data[start + _HEADER.size : start + size]
        start += max(_HEADER.size, size + (-size % 4))


_LITTLE: Final = struct.pack("=H", 1) == b"\1\0"


def some(message: Message) -> list[bytes]:
    """The bodies of the first answers to `message`, a dump, over a socket of its own. Raises OSError."""
    with Netlink() as opened:
        return opened.some(message)


def _failure(flags: int, payload: bytes, index: int) -> NetlinkError | None:
    (code,) = _CODE.unpack_from(payload)
    if code == 0:
        return None
    start = 4 + _HEADER.size  # the code, and the header of the request
    words = string(attributes(payload, start).get(_ERROR_WORDS, b"")) if flags & _TLVS else ""
    return NetlinkError(-code, words, index)
