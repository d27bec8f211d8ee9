"""The resolver's process: whom it answers, what it says to its daemons, and when it ends."""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import threading
from typing import TYPE_CHECKING

import dns.message
import dns.rcode
import pytest

from dockercni import __version__
from dockercni.companions import link as links
from dockercni.companions.door import Door
from dockercni.companions.link import Message
from dockercni.resolver import listeners, messages, process, wire
from dockercni.resolver.exchange import framed, unframed
from dockercni.resolver.messages import Alive, Complete, Hello, Leave, Listen, Names, OnNetwork, Remove, Said, Serve
from dockercni.resolver.process import Resolver
from dockercni.resolver.table import Table
from dockercni.resolver.upstream import HostServers
from tests.hosts import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ID = "1" * 64
WEB = Names(ID, ["web"], [OnNetwork("net", ["10.0.0.2"])])


class World:
    """A resolver that runs in a thread, and one container's way to ask it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / messages.SOCKET
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listening.bind(str(self.path))
        listening.listen()
        host = HostServers(directory / "resolv.conf")
        host.path.write_text("nameserver 127.0.0.12\n")  # where nobody listens
        self.resolver = Resolver(Door(listening, os.open(directory, os.O_RDONLY), messages.SOCKET), host)
        self.thread = threading.Thread(target=self.resolver.run)
        self.thread.start()
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.11", 0))
        self.tcp = socket.create_server(("127.0.0.11", 0))
        self.asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.asker.connect(self.udp.getsockname())
        self.asker.settimeout(10)

    def daemon(self, *words: Message) -> socket.socket:
        """A daemon that connects, and says these; what it hears first is checked."""
        link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        link.connect(str(self.path))
        links.send(link, Serve())
        assert heard(link) == (Hello(messages.PROTOCOL, __version__), [])
        for message in words:
            links.send(link, message)
        return link

    def listen(self, link: socket.socket, container_id: str = ID) -> None:
        namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
        links.send(link, Listen(container_id), self.udp.fileno(), self.tcp.fileno(), namespace)
        os.close(namespace)

    def ask(self, name: str = "web") -> dns.message.Message:
        """The answer to a question over UDP; each has an id of its own."""
        message = dns.message.make_query(name, "A")
        self.asker.send(message.to_wire())
        while True:
            answer = dns.message.from_wire(self.asker.recv(4096))
            if answer.id == message.id:
                return answer

    def connection(self) -> socket.socket:
        link = socket.create_connection(self.tcp.getsockname(), timeout=10)
        link.settimeout(10)
        return link

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
            if self.thread.is_alive():
                link.connect(str(self.path))
                links.send(link, Serve())
                links.send(link, Leave())
        self.thread.join(10)
        assert not self.thread.is_alive()
        self.resolver.close()
        for each in (self.udp, self.tcp, self.asker):
            each.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """It runs, and no daemon has come yet."""
    made = World(tmp_path)
    yield made
    made.close()


def heard(link: socket.socket) -> tuple[Message, list[int]]:
    """Its next words, other than that it is alive."""
    while select.select([link], [], [], 10)[0]:
        received = links.receive(link, messages.to_daemon)
        assert received, "it has ended"
        if not isinstance(received[0], Alive):
            return received
    raise AssertionError("it says nothing")


def all_told(link: socket.socket) -> list[tuple[Message, int]]:
    """What it says until it has said all, and how many descriptors came with each."""
    found = []
    while True:
        message, fds = heard(link)
        for fd in fds:
            os.close(fd)
        if isinstance(message, Complete):
            return found
        found.append((message, len(fds)))


def answered(world: World) -> bool:
    """Whether a question is answered in time."""
    try:
        return bool(world.ask().answer)
    except TimeoutError:
        return False


def recv_message(link: socket.socket) -> dns.message.Message:
    """The next message of a connection."""
    data = b""
    while True:
        message, rest = unframed(data)
        if message is not None:
            assert not rest
            return dns.message.from_wire(message)
        more = link.recv(1)
        assert more, "closed"
        data += more


def test_answers(world: World) -> None:
    """A container's questions are answered over UDP and TCP, until the daemon takes back what it has told."""
    with world.daemon(WEB) as link:
        world.listen(link)
        assert str(world.ask().answer[0][0]) == "10.0.0.2"
        with world.connection() as connection:
            for name in ("web", "WEB"):
                connection.sendall(framed(dns.message.make_query(name, "A").to_wire()))
                assert str(recv_message(connection).answer[0][0]) == "10.0.0.2"
        links.send(link, Names(ID, ["web"], [OnNetwork("net", ["10.0.0.3"])]))
        wait_until(lambda: str(world.ask().answer[0][0]) == "10.0.0.3", 10, "the new address")
        links.send(link, Remove(ID))
        links.send(link, Remove("unknown"))
        wait_until(lambda: not world.resolver._listeners, 10, "its sockets to be closed")
        assert world.resolver._table.all() == []


def test_forwards(world: World) -> None:
    """Other names are asked of the host's servers; nobody answers there, so the answer is that it failed."""
    with world.daemon(WEB) as link:
        world.listen(link)
        assert world.ask("nosuch.example").rcode() == dns.rcode.SERVFAIL
        assert world.ask("nosuch").rcode() == dns.rcode.SERVFAIL


def test_without_a_daemon(world: World) -> None:
    """When the daemon has gone, questions are answered as before; the next one hears all, and gets the sockets."""
    with world.daemon(WEB) as link:
        world.listen(link)
        world.ask()
    assert world.ask().answer
    with world.daemon() as link:
        assert all_told(link) == [(WEB, 0), (Listen(ID), 3)]
        assert world.ask().answer


def test_another_daemon(world: World) -> None:
    """Of two daemons the one that came last counts; the other is dropped."""
    with world.daemon() as first, world.daemon(WEB) as second:
        all_told(first)
        assert first.recv(100) == b""
        world.listen(second)
        assert world.ask().answer


def test_complete(world: World) -> None:
    """What a new daemon does not speak of goes when it says that it has spoken of all, and not before."""
    other = Names("2" * 64, ["other"], [OnNetwork("net", ["10.0.0.9"])])
    with world.daemon(WEB, other) as link:
        world.listen(link)
        world.ask()
    with world.daemon(WEB) as link:
        all_told(link)
        world.listen(link)
        assert world.ask("other").answer
        links.send(link, Complete())
        wait_until(lambda: world.ask("other").rcode() == dns.rcode.SERVFAIL, 10, "the other one to be forgotten")
        assert world.ask().answer


def test_told_again(world: World) -> None:
    """What a new daemon says that is known already changes nothing: a question that is under way is answered."""
    with world.daemon(WEB) as link:
        world.listen(link)
        world.ask()
        before = dict(world.resolver._listeners)
        with world.connection() as connection:
            links.send(link, WEB)
            world.listen(link)
            links.send(link, Names("2" * 64, ["other"], [OnNetwork("net", ["10.0.0.9"])]))
            wait_until(lambda: world.ask("other").answer, 10, "all of that")
            connection.sendall(framed(dns.message.make_query("web", "A").to_wire()))
            assert recv_message(connection).answer
        assert world.resolver._listeners[ID] is before[ID]


def test_strangers(world: World) -> None:
    """Who has not said that it is the daemon is not obeyed, and what is no message ends the connection."""
    with world.daemon(WEB) as link, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        world.listen(link)
        stranger.connect(str(world.path))
        links.send(stranger, Remove(ID))
        links.send(stranger, Leave())
        stranger.send(b"{}")
        assert stranger.recv(100) == b""
        assert world.ask().answer


def test_without_descriptors(world: World) -> None:
    """Sockets that did not come are told of, and nothing else changes."""
    with world.daemon(WEB) as link:
        all_told(link)
        links.send(link, Listen(ID))
        message, _ = heard(link)
        assert isinstance(message, Said)
        assert message.event == "container cannot ask for names"


def test_words_wait(world: World) -> None:
    """What it has to say while no daemon is there, the next one hears."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.connect(str(world.path))
        stranger.send(b"nonsense")
        assert stranger.recv(4096) == b""
    with world.daemon() as link:
        said, _ = heard(link)
        assert isinstance(said, Said)
        assert said.level == "warning"


def test_bad_names(world: World) -> None:
    """An address that is none is told of, and the container's other names stay."""
    with world.daemon(WEB, Names(ID, ["web"], [OnNetwork("net", ["nonsense"])])) as link:
        world.listen(link)
        all_told(link)
        said, _ = heard(link)
        assert isinstance(said, Said)
        assert "nonsense" in said.fields["reason"]
        assert world.ask().answer


def test_more_than_fits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that reads slowly hears of all containers nevertheless."""
    monkeypatch.setattr(links, "widen", lambda _: None)
    many = [Names(f"{number:064}", ["name" * 10], [OnNetwork("net", ["10.0.0.2"])]) for number in range(3000)]
    link = world.daemon()
    all_told(link)
    for known in many:
        link.send(links.encoded(known))
    wait_until(lambda: len(world.resolver._table.all()) == len(many), 30, "all to be known")
    link.close()
    with world.daemon() as link:
        told = all_told(link)
        assert {message.id for message, _ in told if isinstance(message, Names)} == {known.id for known in many}


def test_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a daemon it ends when it serves nobody; as long as it serves somebody it stays."""
    monkeypatch.setattr(messages, "ALIVE", 0.05)
    with world.daemon(WEB) as link:
        world.listen(link)
        world.ask()
        monkeypatch.setattr(process, "LINGER", 0.0)
    assert world.ask().answer
    assert world.thread.is_alive()
    with world.daemon() as link:
        links.send(link, Complete())
    world.thread.join(10)
    assert not world.thread.is_alive()


def test_its_socket_is_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends, too, where no daemon can find it."""
    monkeypatch.setattr(messages, "ALIVE", 0.05)
    with world.daemon() as link:
        all_told(link)
        world.path.unlink()
    world.thread.join(10)
    assert not world.thread.is_alive()


def test_hostile_datagrams(world: World) -> None:
    """Whatever one container sends, the next question is answered."""
    chance = random.Random(11)
    with world.daemon(WEB) as link:
        world.listen(link)
        good = dns.message.make_query("web", "A", use_edns=0).to_wire()
        for _ in range(2000):
            message = bytearray(good)
            for _ in range(chance.randrange(1, 6)):
                message[chance.randrange(len(message))] = chance.randrange(256)
            world.asker.send(message[: chance.randrange(len(message) + 1)])
        world.asker.send(b"\0" * 60000)
        world.asker.settimeout(0.1)  # a question is lost where the flood has left no room
        wait_until(lambda: answered(world), 30, "an answer")


def test_flood(world: World) -> None:
    """While one container asks as fast as it can, another one is answered."""
    other = "2" * 64
    stop = threading.Event()
    question = dns.message.make_query("nosuch.example", "A").to_wire()
    with world.daemon(WEB, Names(other, ["other"], [OnNetwork("net", ["10.0.0.9"])])) as link:
        world.listen(link)
        world.ask()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.create_server(("127.0.0.11", 0)) as tcp:
            udp.bind(("127.0.0.11", 0))
            namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
            links.send(link, Listen(other), udp.fileno(), tcp.fileno(), namespace)
            os.close(namespace)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
                asker.connect(udp.getsockname())

                def flood() -> None:
                    while not stop.is_set():
                        asker.send(question)

                thread = threading.Thread(target=flood)
                thread.start()
                try:
                    for _ in range(20):
                        assert world.ask().answer
                finally:
                    stop.set()
                    thread.join()


def test_a_defect(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody foresaw costs one answer, and is told of."""
    real, failures = Table.records, [ZeroDivisionError()]

    def records(table: Table, asker_id: str, asked: wire.Question) -> object:
        if failures:
            raise failures.pop()
        return real(table, asker_id, asked)

    monkeypatch.setattr(Table, "records", records)
    with world.daemon(WEB) as link:
        all_told(link)
        world.listen(link)
        world.asker.send(dns.message.make_query("web", "A").to_wire())
        said, _ = heard(link)
        assert isinstance(said, Said)
        assert "ZeroDivisionError" in said.fields["reason"]
        assert world.ask().answer


def test_connections(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several questions at once are all answered, also when their asker says that there will be no more."""
    with world.daemon(WEB) as link:
        world.listen(link)
        world.ask()
        with world.connection() as connection:
            connection.sendall(framed(dns.message.make_query("web", "A").to_wire()) * 3)
            connection.sendall(framed(dns.message.make_query("nosuch.example", "A").to_wire()))
            connection.shutdown(socket.SHUT_WR)
            data = b""
            while more := connection.recv(4096):
                data += more
        found = []
        while data:
            message, data = unframed(data)
            assert message
            found.append(dns.message.from_wire(message).rcode())
        assert sorted(found) == [0, 0, 0, dns.rcode.SERVFAIL]
        monkeypatch.setattr(listeners, "_CONNECTIONS", 2)
        many = [world.connection() for _ in range(3)]
        assert many[2].recv(100) == b""
        many[0].sendall(framed(b"no question"))
        many[0].sendall(framed(dns.message.make_query("web", "A").to_wire()))
        assert recv_message(many[0]).answer
        for each in many:
            each.close()
        (listening,) = world.resolver._listeners.values()
        wait_until(lambda: not listening._connections, 10, "the connections to be closed")


def test_idle_connections(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection by which nothing comes for a while is closed, and one whose answers nobody reads."""
    monkeypatch.setattr(listeners, "_IDLE", 0.2)
    with world.daemon(WEB) as link:
        world.listen(link)
        world.ask()
        with world.connection() as connection:
            assert connection.recv(100) == b""
        monkeypatch.setattr(listeners, "_IDLE", 60)
        monkeypatch.setattr(listeners, "_UNREAD", 1000)
        with world.connection() as connection:
            connection.settimeout(0.5)
            question = framed(dns.message.make_query("web", "A").to_wire()) * 1000
            with contextlib.suppress(ConnectionError, TimeoutError):
                while True:
                    connection.sendall(question)
        (listening,) = world.resolver._listeners.values()
        wait_until(lambda: not listening._connections, 10, "the connection to be closed")
        assert world.ask().answer
