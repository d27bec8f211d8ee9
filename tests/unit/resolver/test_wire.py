"""DNS messages, with dnspython as the judge of what is written and of what can be read."""

from __future__ import annotations

import random
import struct

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockercni.resolver import wire
from dockercni.resolver.wire import Malformed

LABELS = st.lists(st.binary(min_size=1, max_size=63), max_size=6)


def query(name: str, kind: str = "A", **options: object) -> bytes:
    return dns.message.make_query(name, kind, id=4711, **options).to_wire()  # type: ignore[arg-type]


def answered(message: bytes, *data: bytes, tcp: bool = False) -> dns.message.Message:
    """What dnspython makes of the answer, strictly: nothing may follow it."""
    return dns.message.from_wire(wire.answer(message, wire.question(message), data, tcp=tcp))


def test_question() -> None:
    """A question is read in lower case, without the dot at its end, and kept as it stood."""
    asked = wire.question(query("Web.EXAMPLE.", "AAAA"))
    assert (asked.name, asked.type, asked.cls) == ("web.example", wire.AAAA, wire.IN)
    assert asked.section[:13] == b"\x03Web\x07EXAMPLE\x00"


@pytest.mark.parametrize(
    ("labels", "name"),
    [((b"a.b",), "a\\.b"), ((b"a\\", b"c"), "a\\\\.c"), ((b"my db",), "my db"), ((), ""), ((b"x" * 63,), "x" * 63)],
)
def test_odd_names(labels: tuple[bytes, ...], name: str) -> None:
    """Dots and backslashes in a label do not make it look like another name."""
    assert wire.question(query(dns.name.Name((*labels, b"")))).name == name  # type: ignore[arg-type]


def test_longest_name() -> None:
    """A name of 255 bytes is one, and one of 256 is none."""
    fits = b"".join(b"\x3f" + b"a" * 63 for _ in range(3)) + b"\x3d" + b"a" * 61 + b"\0"
    header, tail = wire.HEADER.pack(1, 0, 1, 0, 0, 0), b"\0\1\0\1"
    assert len(fits) == 255
    assert len(wire.question(header + fits + tail).name) == 253
    longer = b"".join(b"\x3f" + b"a" * 63 for _ in range(3)) + b"\x3e" + b"a" * 62 + b"\0"
    with pytest.raises(Malformed):
        wire.question(header + longer + tail)


@pytest.mark.parametrize(
    ("message", "rcode"),
    [
        (b"", None),
        (b"\0" * 11, None),
        (query("db")[:2] + b"\x81" + query("db")[3:], None),  # a response
        (query("db")[:2] + b"\x28" + query("db")[3:], wire.NOTIMP),  # an update
        (wire.HEADER.pack(1, 0, 0, 0, 0, 0), wire.FORMERR),
        (wire.HEADER.pack(1, 0, 2, 0, 0, 0) + query("db")[12:] * 2, wire.FORMERR),
        (query("db")[:-1], wire.FORMERR),
        (wire.HEADER.pack(1, 0, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1", wire.FORMERR),  # a pointer to itself
        (wire.HEADER.pack(1, 0, 1, 0, 0, 0) + b"\x40a\0\0\1\0\1", wire.FORMERR),
        (wire.HEADER.pack(1, 0, 1, 0, 0, 0) + b"\x05ab", wire.FORMERR),
    ],
)
def test_no_question(message: bytes, rcode: int | None) -> None:
    """What cannot be answered gets the code that says why; what is a response itself, or no message, gets nothing."""
    with pytest.raises(Malformed) as refused:
        wire.question(message)
    response = refused.value.response
    assert (wire.rcode(response) if response else None) == rcode
    if response:
        assert response[:2] == message[:2]
        assert dns.message.from_wire(response).flags & dns.flags.QR


def test_addresses() -> None:
    """An answer has the question, the addresses, and a short time to live; recursion is available."""
    found = answered(query("db"), bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
    assert {str(record) for record in found.answer[0]} == {"10.0.0.1", "10.0.0.2"}
    assert found.answer[0].ttl <= 5
    assert found.flags & (dns.flags.QR | dns.flags.RA | dns.flags.RD) == dns.flags.QR | dns.flags.RA | dns.flags.RD
    assert not found.flags & dns.flags.TC
    assert found.edns == -1
    assert str(answered(query("db", "AAAA"), b"\xfd" + bytes(14) + b"\1").answer[0][0]) == "fd00::1"
    assert str(answered(query("1.0.0.10.in-addr.arpa", "PTR"), wire.encoded("db.net")).answer[0][0]) == "db.net."
    assert {set_.rdtype for set_ in answered(query("db", "ANY"), bytes(4), bytes(16)).answer} == {wire.A, wire.AAAA}


def test_no_address() -> None:
    """A name without such a record exists all the same."""
    found = answered(query("db", "MX"))
    assert (found.rcode(), found.answer) == (dns.rcode.NOERROR, [])


def test_edns() -> None:
    """Who speaks EDNS is answered in it; a version that there is not yet is refused as it asks for."""
    assert answered(query("db", use_edns=0)).edns == 0
    assert answered(query("db", use_edns=1)).rcode() == dns.rcode.BADVERS
    cookie = dns.message.make_query("db", "A", use_edns=0, payload=4096, want_dnssec=True).to_wire()
    assert answered(cookie, bytes(4)).rcode() == dns.rcode.NOERROR


@pytest.mark.parametrize("damage", [b"", b"\0", b"\0\0\x29\x10\0\0\0\0\0\0\5abc", b"\x40", b"\xc0"])
def test_broken_additional(damage: bytes) -> None:
    """A question that is followed by something else than it says is refused."""
    message = bytearray(query("db") + damage)
    message[11] = 1
    with pytest.raises(Malformed) as refused:
        wire.answer(bytes(message), wire.question(bytes(message)), [], tcp=False)
    assert wire.rcode(refused.value.response) == wire.FORMERR


@pytest.mark.parametrize(("options", "limit"), [({}, 512), ({"use_edns": 0, "payload": 1232}, 1232)])
def test_truncated(options: dict[str, int], limit: int) -> None:
    """Over UDP an answer has as many addresses as fit, and says that there are more; over TCP it has all."""
    message = query("db", **options)
    data = [struct.pack("!I", number) for number in range(200)]
    short = wire.answer(message, wire.question(message), data, tcp=False)
    found = dns.message.from_wire(short, ignore_trailing=False)
    assert found.flags & dns.flags.TC
    assert limit - 16 < len(short) <= limit
    whole = answered(message, *data, tcp=True)
    assert len(whole.answer[0]) == 200
    assert not whole.flags & dns.flags.TC


def test_answers() -> None:
    """A response counts with the same id and question only, in whatever case the server writes the name."""
    asked = wire.question(query("db.example"))
    good = dns.message.make_response(dns.message.from_wire(query("db.example"))).to_wire()
    good = wire.with_id(good, 7)
    assert wire.answers(good, 7, asked)
    assert wire.answers(good.replace(b"example", b"EXAMPLE"), 7, asked)
    assert not wire.answers(good, 8, asked)
    assert not wire.answers(wire.with_id(query("db.example"), 7), 7, asked)
    assert not wire.answers(good[:11], 7, asked)
    for other, kind in (("db.examplf", "A"), ("db.example", "AAAA"), ("b.example", "A")):
        forged = dns.message.make_response(dns.message.from_wire(query(other, kind))).to_wire()
        assert not wire.answers(wire.with_id(forged, 7), 7, asked)
    assert wire.answers(wire.HEADER.pack(7, 0x8005, 0, 0, 0, 0), 7, asked)  # refused, without the question
    assert not wire.answers(wire.HEADER.pack(7, 0x8000, 0, 0, 0, 0), 7, asked)


def test_types_are_not_letters() -> None:
    """Type 65 and type 97 differ, although their bytes are A and a."""
    asked = wire.question(query("db", "TYPE65"))
    forged = wire.with_id(dns.message.make_response(dns.message.from_wire(query("db", "TYPE97"))).to_wire(), 7)
    assert not wire.answers(forged, 7, asked)


@pytest.mark.parametrize("name", ["", "a..b", "x" * 64, ".".join(["x" * 63] * 4)])
def test_no_name(name: str) -> None:
    """What DNS has no form for is refused."""
    with pytest.raises(ValueError, match="name"):
        wire.encoded(name)


@given(LABELS, st.sampled_from([1, 12, 15, 28, 255, 65]))
def test_reads_as_dnspython_does(labels: list[bytes], kind: int) -> None:
    """Whatever is in a name, both read the same one, and dnspython reads our answer to it."""
    message = dns.message.make_query(dns.name.Name((*labels, b"")), kind).to_wire()
    asked = wire.question(message)
    theirs = dns.message.from_wire(message).question[0]
    assert asked.section == theirs.name.to_wire() + struct.pack("!HH", theirs.rdtype, theirs.rdclass)
    assert dns.message.from_wire(wire.answer(message, asked, [], tcp=False)).question[0] == theirs


def read(message: bytes) -> None:
    """As the resolver does it: nothing but Malformed may come out, and what is answered can be read."""
    try:
        response = wire.answer(message, wire.question(message), [bytes(4)], tcp=False)
    except Malformed as error:
        response = error.response
    assert not response or response[:2] == message[:2]


@given(st.binary(max_size=600))
def test_any_bytes(message: bytes) -> None:
    """No bytes do more than to be refused."""
    read(message)


@given(st.binary(max_size=300))
def test_any_bytes_after_a_header(message: bytes) -> None:
    """Nor do those that begin as a question does."""
    read(wire.HEADER.pack(1, 0x100, 1, 0, 0, 1) + message)


def hostile(chance: random.Random) -> bytes:
    """A question that was changed at a few places, cut off, or added to."""
    message = bytearray(query("www.example.com", chance.choice(["A", "AAAA", "PTR"]), use_edns=chance.choice([-1, 0])))
    for _ in range(chance.randrange(5)):
        message[chance.randrange(len(message))] = chance.choice((chance.randrange(256), 0xC0, 0, 0xFF))
    del message[chance.randrange(len(message) + 40) :]
    return bytes(message) + chance.randbytes(chance.choice((0, 0, 1, 12, 300)))


@pytest.mark.slow
def test_hundred_thousand_hostile_messages() -> None:
    """A hundred thousand damaged questions are each answered or refused; what dnspython accepts we do not misread."""
    chance = random.Random(15)
    for _ in range(100_000):
        message = hostile(chance)
        read(message)
        try:
            theirs = dns.message.from_wire(message, question_only=True)
        except (dns.exception.DNSException, ValueError):
            continue
        if theirs.opcode() == 0 and not theirs.flags & dns.flags.QR and len(theirs.question) == 1:
            name = theirs.question[0].name.to_wire()
            try:
                assert wire.question(message).section[: len(name)].lower() == name.lower()
            except Malformed:  # a pointer into the header, which dnspython follows
                assert b"\xc0" in message
