"""Questions on their way to servers that answer, are slow, dead, or lie."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.rcode
import pytest

from dockercni.resolver import exchange, forward, upstream, wire
from dockercni.resolver.exchange import framed, unframed
from dockercni.resolver.forward import Forwarder
from dockercni.resolver.loop import Loop
from dockercni.resolver.upstream import HostServers, Server, Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Behaviour = Callable[[bytes], list[bytes]]
QUESTION = dns.message.make_query("www.example.com", "A").to_wire()


def good(message: bytes) -> list[bytes]:
    """Answers 192.0.2.1."""
    return [wire.answer(message, wire.question(message), [bytes([192, 0, 2, 1])], tcp=False)]


def silent(_: bytes) -> list[bytes]:
    """Never answers."""
    return []


def failing(message: bytes) -> list[bytes]:
    """Says that it cannot."""
    return [wire.response(wire.question(message), wire.SERVFAIL)]


class FakeServer:
    """A server in the same loop: how it behaves, and what it was asked."""

    def __init__(self, loop: Loop, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.asked: list[bytes] = []
        self.ports: list[int] = []
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.tcp = socket.create_server(self.udp.getsockname())
        self.links: list[socket.socket] = []
        self.loop = loop
        loop.add(self.udp.fileno(), self._datagram)
        loop.add(self.tcp.fileno(), self._connection)
        self.known = Server(socket.AF_INET, self.udp.getsockname())

    def _datagram(self) -> None:
        message, asker = self.udp.recvfrom(4096)
        self.asked.append(message)
        self.ports.append(asker[1])
        for answer in self.behaviour(message):
            self.udp.sendto(answer, asker)

    def _connection(self) -> None:
        link, _ = self.tcp.accept()
        self.links.append(link)

        def ready() -> None:
            message, _ = unframed(link.recv(4096))
            if message is None:
                self.loop.remove(link.fileno())
                return
            self.asked.append(message)
            for answer in self.behaviour(message):
                whole = framed(answer)
                link.send(whole[:5])
                link.send(whole[5:])

        self.loop.add(link.fileno(), ready)

    def close(self) -> None:
        for each in (self.udp, self.tcp, *self.links):
            each.close()


class World:
    """A forwarder and its servers."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.forwarder = Forwarder(self.loop)
        self.servers: list[FakeServer] = []

    def server(self, behaviour: Behaviour) -> FakeServer:
        self.servers.append(FakeServer(self.loop, behaviour))
        return self.servers[-1]

    def begin(
        self, *servers: FakeServer, message: bytes = QUESTION, asker: str = "a", tcp: bool = False
    ) -> list[bytes]:
        """Ask; what is answered comes into the list."""
        answers: list[bytes] = []
        upstream = Upstream(tuple(server.known for server in servers))
        self.forwarder.ask(message, wire.question(message), asker, upstream, answers.append, tcp=tcp)
        return answers

    def ask(self, *servers: FakeServer, message: bytes = QUESTION, tcp: bool = False) -> dns.message.Message:
        """The answer."""
        answers = self.begin(*servers, message=message, tcp=tcp)
        self.until(lambda: bool(answers))
        assert len(answers) == 1
        assert answers[0][:2] == message[:2]
        return dns.message.from_wire(answers[0])

    def until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not done():
            assert time.monotonic() < deadline
            self.loop.turn(0.1)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Servers are given up after 50 ms, questions after 200."""
    monkeypatch.setattr(forward, "STEP", 0.05)
    monkeypatch.setattr(forward, "TIME", 0.2)
    made = World()
    yield made
    for server in made.servers:
        server.close()
    made.loop.close()


@pytest.mark.parametrize("tcp", [False, True])
def test_answered(world: World, tcp: bool) -> None:
    """The server's answer is handed on under the asker's id; the server sees one of its own."""
    server = world.server(good)
    assert str(world.ask(server, tcp=tcp).answer[0][0]) == "192.0.2.1"
    assert [message[2:] for message in server.asked] == [QUESTION[2:]]
    assert not world.forwarder._under_way


def test_as_it_is(world: World) -> None:
    """EDNS goes to the server as the asker wrote it, and a truncated answer is handed on: the asker comes over TCP."""
    message = dns.message.make_query("x.example", "TXT", use_edns=0, payload=1400, want_dnssec=True).to_wire()
    server = world.server(lambda asked: [wire.response(wire.question(asked), 0, truncated=True)])
    assert world.ask(server, message=message).flags & dns.flags.TC
    assert server.asked[0][2:] == message[2:]


def test_ports_and_ids(world: World) -> None:
    """Each question has a port and an id of its own, that nobody can guess."""
    server = world.server(good)
    for _ in range(30):
        world.ask(server)
    assert len(set(server.ports)) > 20
    assert len({message[:2] for message in server.asked}) > 25


@pytest.mark.parametrize("code", [dns.rcode.NXDOMAIN, dns.rcode.NOERROR])
def test_no_such_name(world: World, code: int) -> None:
    """That there is no such name is an answer: nobody else is asked."""
    first, second = world.server(lambda asked: [wire.response(wire.question(asked), code)]), world.server(good)
    assert world.ask(first, second).rcode() == code
    assert not second.asked


def test_another_server(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says that it cannot is passed over at once, and so is one that refuses the port."""
    monkeypatch.setattr(forward, "STEP", 60.0)
    monkeypatch.setattr(forward, "TIME", 60.0)
    first, second = world.server(failing), world.server(good)
    assert world.ask(first, second).answer
    first.udp.close()
    assert world.ask(first, second).answer


def test_nobody_can(world: World) -> None:
    """If no server can, the asker hears so, in the last one's words, and each was asked once."""
    servers = [world.server(lambda asked: [wire.response(wire.question(asked), wire.REFUSED)]) for _ in range(2)]
    assert world.ask(*servers).rcode() == dns.rcode.REFUSED
    assert [len(server.asked) for server in servers] == [1, 1]
    assert world.ask().rcode() == dns.rcode.SERVFAIL


def test_dead(world: World) -> None:
    """A dead server costs its time once: then another is asked first, and the dead one tried beside it now and then."""
    dead, alive = world.server(silent), world.server(good)
    assert world.ask(dead, alive).answer
    assert len(dead.asked) == 1
    for _ in range(5):
        assert world.ask(dead, alive).answer
    assert len(dead.asked) == 1
    dead.known.again = time.monotonic() - 1
    dead.behaviour = good
    assert world.ask(dead, alive).answer
    world.until(lambda: dead.known.again is None)
    assert len(dead.asked) == 2
    world.ask(dead, alive)
    assert len(dead.asked) == 3


def test_alone(world: World) -> None:
    """A server that is alone is asked again, in case the question was lost, and in vain until the time is over."""
    server = world.server(silent)
    assert world.ask(server).rcode() == dns.rcode.SERVFAIL
    assert len(server.asked) == 2
    first = [True]
    server.behaviour = lambda asked: [] if first and first.pop() else good(asked)
    assert world.ask(server).answer


def test_slow(world: World) -> None:
    """A late answer counts, although others were asked meanwhile; and then the server is no dead one."""
    slow, dead = world.server(silent), world.server(silent)
    answers = world.begin(slow, dead)
    world.until(lambda: bool(dead.asked))
    assert slow.known.again is not None
    slow.udp.sendto(good(slow.asked[0])[0], ("127.0.0.1", slow.ports[0]))
    world.until(lambda: bool(answers))
    assert dns.message.from_wire(answers[0]).answer
    assert slow.known.again is None


def test_forged(world: World) -> None:
    """Answers with another id or question, and from another address, are nothing; the right one still counts."""

    def forging(message: bytes) -> list[bytes]:
        right = good(message)[0]
        other = dns.message.make_query("evil.example", "A").to_wire()
        return [
            b"",
            b"\0",
            wire.with_id(right, int.from_bytes(right[:2], "big") ^ 1),
            wire.with_id(good(other)[0], int.from_bytes(right[:2], "big")),
            message,
        ]

    server = world.server(forging)
    answers = world.begin(server)
    world.until(lambda: bool(server.asked))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(good(server.asked[0])[0], ("127.0.0.1", server.ports[0]))
    world.loop.turn(0.01)
    assert not answers
    server.udp.sendto(good(server.asked[0])[0], ("127.0.0.1", server.ports[0]))
    world.until(lambda: bool(answers))
    assert str(dns.message.from_wire(answers[0]).answer[0][0]) == "192.0.2.1"


def test_streams_that_end(world: World) -> None:
    """A connection that ends without an answer, or is refused, fails; the next server is asked."""
    first, second = world.server(silent), world.server(good)
    answers = world.begin(first, second, tcp=True)
    world.until(lambda: bool(first.asked))
    world.loop.remove(first.links[0].fileno())
    first.links[0].close()
    world.until(lambda: bool(answers))
    assert dns.message.from_wire(answers[0]).answer
    first.tcp.close()
    assert world.ask(first, second, tcp=True).answer


def test_too_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that asks too much at a time hears that it does not work, and others are served all the same."""
    monkeypatch.setattr(forward, "_OF_ONE", 3)
    monkeypatch.setattr(forward, "_UNDER_WAY", 5)
    server = world.server(silent)
    flood = [world.begin(server) for _ in range(10)]
    assert [len(answers) for answers in flood] == [0] * 3 + [1] * 7
    others = [world.begin(server, asker=f"other {number}") for number in range(3)]
    assert [len(answers) for answers in others] == [0, 0, 1]
    world.until(lambda: not world.forwarder._under_way)
    assert {len(answers) for answers in (*flood, *others)} == {1}
    server.behaviour = good
    assert world.ask(server).answer


def test_abandoned(world: World) -> None:
    """The questions of a container that is gone are dropped, with all that they hold; those of others are not."""
    server = world.server(silent)
    gone, stays = world.begin(server, asker="gone"), world.begin(server, asker="stays")
    world.forwarder.abandon("gone")
    world.forwarder.abandon("unknown")
    world.until(lambda: bool(stays))
    assert not gone
    assert (world.forwarder._total, world.forwarder._under_way) == (0, {})


def test_no_descriptor(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no socket can be had the asker hears so, and no server is taken for dead."""

    def refused(*_: object) -> socket.socket:
        raise OSError(24, "too many open files")

    monkeypatch.setattr(Upstream, "socket", refused)
    server = world.server(good)
    assert world.ask(server).rcode() == dns.rcode.SERVFAIL
    assert server.known.again is None


def test_unframed() -> None:
    """A message over TCP is whole or not yet."""
    whole = exchange.framed(b"abc")
    for end in range(len(whole)):
        assert unframed(whole[:end]) == (None, whole[:end])
    assert unframed(whole + b"\0") == (b"abc", b"\0")
    assert unframed(b"\0\0x") == (b"", b"x")


def test_servers() -> None:
    """Three servers at most, of both families; what is no address is left out."""
    found = upstream.servers(["10.0.0.1", "nonsense", "2001:db8::1", "ünicode", "10.0.0.2", "10.0.0.3"])
    assert [server.address[:2] for server in found] == [("10.0.0.1", 53), ("2001:db8::1", 53), ("10.0.0.2", 53)]


def test_servers_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's file is read again when it has changed; without a server in it the host itself is asked."""
    monkeypatch.setattr(upstream, "_FRESH", 0.0)
    host = HostServers(tmp_path / "resolv.conf")

    def addresses() -> list[object]:
        return [server.address[0] for server in host.upstream().servers]

    assert addresses() == ["127.0.0.1"]
    host.path.write_text("# nameserver 1.1.1.1\nnameserver 127.0.0.53\noptions edns0\nnameserver\n")
    assert addresses() == ["127.0.0.53"]
    same = host.upstream()
    assert host.upstream() is same  # what is known of its servers stays
    host.path.write_text("nameserver 10.0.0.1\nnameserver 10.0.0.2\n")
    assert addresses() == ["10.0.0.1", "10.0.0.2"]
