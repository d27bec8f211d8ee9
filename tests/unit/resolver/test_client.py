"""The daemon's side of the resolver, with resolvers that the test plays."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from dockercni import __version__
from dockercni.companions import link as links
from dockercni.companions.starter import CompanionEnded, Kind
from dockercni.linux.netns import Namespace
from dockercni.resolver import client, messages
from dockercni.resolver.client import ResolverClient
from dockercni.resolver.messages import Alive, Complete, Hello, Leave, Listen, Names, OnNetwork, Remove, Serve
from tests.hosts import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WEB = Names("1" * 64, ["web"], [OnNetwork("net", ["10.0.0.2"])])
DB = Names("2" * 64, ["db"], [OnNetwork("net", ["10.0.0.3"])])


class World:
    """A resolver that the test plays, and a client that uses it."""

    def __init__(self, directory: Path) -> None:
        self.client = ResolverClient(directory)
        self.path = directory / messages.SOCKET
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listening.bind(str(self.path))
        self.listening.listen()
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self.run)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.11", 0))
        self.tcp = socket.create_server(("127.0.0.11", 0))

    def run(self) -> None:
        try:
            self.client._run()
        except BaseException as error:  # noqa: BLE001
            self.failure = error

    def accept(self, *, version: str = __version__, protocol: int = messages.PROTOCOL) -> socket.socket:
        """The client's connection, which got the resolver's first message."""
        self.thread.start()
        link, _ = self.listening.accept()
        link.settimeout(10)
        assert heard(link) == (Serve(), 0)
        links.send(link, Hello(protocol, version))
        return link

    def listen(self, link: socket.socket, container_id: str) -> None:
        namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
        links.send(link, Listen(container_id), self.udp.fileno(), self.tcp.fileno(), namespace)
        os.close(namespace)

    def close(self) -> None:
        self.client.close()
        if self.thread.is_alive():
            self.thread.join(10)
        for each in (self.listening, self.udp, self.tcp):
            each.close()
        for container_id in list(self.client._sockets):
            self.client.remove(container_id)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The client is not started yet."""
    made = World(tmp_path)
    yield made
    made.close()


def heard(link: socket.socket) -> tuple[messages.ToResolver, int]:
    """The client's next message, and how many descriptors came with it."""
    received = links.receive(link, messages.to_resolver)
    assert received
    message, fds = received
    for fd in fds:
        os.close(fd)
    return message, len(fds)


def test_sends_what_it_has(world: World) -> None:
    """A new resolver gets what was set before it came, then each change, and once that all was set."""
    world.client.set_names(WEB)
    with world.accept() as link:
        links.send(link, Complete())
        assert heard(link) == (WEB, 0)
        world.client.set_names(DB)
        assert heard(link) == (DB, 0)
        world.client.remove(DB.id)
        assert heard(link) == (Remove(DB.id), 0)
        world.client.complete()
        assert heard(link) == (Complete(), 0)
        world.client.complete()
        world.client.set_names(DB)
        assert heard(link) == (DB, 0)


def test_all_names_come_first(world: World) -> None:
    """A new resolver gets all names before the first sockets: a question that waits there may be for any of them."""
    with Namespace.of_process(os.getpid()) as namespace:
        for names in (WEB, DB):
            world.client.listen(names.id, namespace)
            world.client.set_names(names)
    with world.accept() as link:
        links.send(link, Complete())
        sent = [heard(link)[0] for _ in range(4)]
    assert [type(message) for message in sent] == [Names, Names, Listen, Listen]


def test_takes_over(world: World) -> None:
    """What an earlier daemon set is taken over with its sockets, and forgotten unless this one sets it, too."""
    with world.accept() as link:
        for names in (WEB, DB):
            links.send(link, names)
            world.listen(link, names.id)
        links.send(link, Complete())
        wait_until(world.client._taken_over.is_set, 10, "the end of that")
        assert {heard(link)[1] for _ in range(4)} == {0, 3}
        with Namespace.open("/proc/self/ns/net") as namespace:
            ports = world.client.listen(WEB.id, namespace)
        assert (ports.udp, ports.tcp) == (world.udp.getsockname()[1], world.tcp.getsockname()[1])
        world.client.set_names(WEB)
        world.client.complete()
        assert set(world.client._sockets) == set(world.client._names) == {WEB.id}
        while (message := heard(link)[0]) != Remove(DB.id):
            assert message in (WEB, Listen(WEB.id))


def test_nothing_old_after_complete(world: World) -> None:
    """Once the daemon has set all of its own, a resolver that reconnects brings nothing back."""
    world.client.complete()
    with world.accept() as link:
        links.send(link, DB)
        world.listen(link, DB.id)
        links.send(link, Complete())
        assert heard(link) == (Complete(), 0)
    assert not world.client._names
    assert not world.client._sockets


def test_another_version(world: World) -> None:
    """A resolver of another version is replaced, and the new one serves with the same sockets and names."""
    with world.accept(version="0.0.9") as link:
        links.send(link, WEB)
        world.listen(link, WEB.id)
        links.send(link, Complete())
        assert heard(link) == (Leave(), 0)
        world.path.unlink()
    wait_until(world.client._taken_over.is_set, 20, "a resolver of our version")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(10)
        asker.connect(world.udp.getsockname())
        asker.send(bytes([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3]) + b"web\0\0\1\0\1")
        assert asker.recv(512)[-4:] == bytes([10, 0, 0, 2])
    world.client.close()
    world.thread.join(10)
    assert world.failure is None
    client.dismiss(world.path.parent)
    assert not world.path.exists()


@pytest.mark.parametrize("what", ["protocol", "garbled", "ends", "silent"])
def test_unusable(world: World, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that cannot be understood, that ends or hangs is killed; the next call starts another."""
    ended: list[object] = []
    monkeypatch.setattr(Kind, "end", lambda *_: ended.append(1))
    monkeypatch.setattr(client, "_SILENT", 0.1)
    with world.accept(protocol=99 if what == "protocol" else messages.PROTOCOL) as link:
        if what == "garbled":
            link.send(b"{")
        if what == "ends":
            link.shutdown(socket.SHUT_RDWR)
        world.thread.join(10)
    assert isinstance(world.failure, CompanionEnded)
    assert ended == [1]


def test_hangs_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that falls silent is noticed even while the daemon has much to send."""
    monkeypatch.setattr(Kind, "end", lambda *_: None)
    monkeypatch.setattr(client, "_SILENT", 0.2)
    with world.accept() as link:
        links.send(link, Complete())
        links.send(link, Alive())
        wait_until(world.client._taken_over.is_set, 10, "its state")

        def busy() -> bool:
            world.client.set_names(WEB)
            return not world.thread.is_alive()

        wait_until(busy, 10, "the end")
    assert isinstance(world.failure, CompanionEnded)


def test_too_many_names(tmp_path: Path) -> None:
    """Names that do not fit into a message are refused, not sent."""
    with pytest.raises(ValueError, match="too many names"):
        ResolverClient(tmp_path).set_names(Names("1", ["x" * 60] * 2000, []))
