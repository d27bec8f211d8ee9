"""The daemon's side of the gate, with gates that are none."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from dockercni import supervision
from dockercni.companions import link as links
from dockercni.companions.starter import CompanionEnded, Kind
from dockercni.docker.start_watch import Start, StartListener
from dockercni.gate import client, messages
from dockercni.gate.client import GateClient
from dockercni.gate.messages import Alive, Changed, Down, Go, Hello, Kill, Leave, Said, Serve, Started, Watching
from dockercni.model import Container
from tests.hosts import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ID = "0" * 64
ORDERS = Serve("/", "", "/", 10.0, "leave", "all", trust_image_labels=False, may_hold=True)


class World:
    """A gate that the test plays, and what the daemon hears of it."""

    def __init__(self, directory: Path) -> None:
        self.starts: list[Start] = []
        self.changed: list[str] = []
        self.container: Container | None = Container(ID, "web", running=False)
        self.problem: list[str] = []
        listener = StartListener(self.starts.append, self.changed.append, lambda *_: None, lambda *_: None)
        self.gate = GateClient(directory, lambda _: self.container, listener, self.problem.append)
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listening.bind(str(directory / messages.SOCKET))
        self.listening.listen()
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self.serve)

    def serve(self) -> None:
        try:
            self.gate._serve_one()
        except BaseException as error:  # noqa: BLE001
            self.failure = error

    def accept(self, version: str = "0.1.0", protocol: int = messages.PROTOCOL) -> socket.socket:
        self.gate._serve = ORDERS
        self.thread.start()
        link, _ = self.listening.accept()
        assert heard(link) == ORDERS
        links.send(link, Hello(protocol, version))
        return link

    def start(self, link: socket.socket, **state: Any) -> None:
        namespace, directory = os.open("/proc/self/ns/net", os.O_RDONLY), os.open("/", os.O_RDONLY)
        said = Started(7, ID, "/c", 1, 0.0, 10.0, kill=False, has_hold=True, **state)
        links.send(link, said, namespace, directory)
        os.close(namespace)
        os.close(directory)


def heard(link: socket.socket) -> messages.ToGate:
    """The daemon's next message."""
    received = links.receive(link, messages.to_gate)
    assert received
    return received[0]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.gate.close()
    made.thread.join(10)
    made.listening.close()


def test_a_start(world: World) -> None:
    """A start comes with its descriptors and the state of its hold, and what is said of it reaches the gate."""
    with world.accept() as link:
        world.start(link, stopped=True)
        wait_until(lambda: world.starts, 10, "the start")
        (start,) = world.starts
        assert (start.container.name, start.container.running, start.container.pid) == ("web", True, 1)
        assert start.hold
        assert (start.hold.stopped, start.hold.over, start.limit.seconds) == (True, "", 10.0)
        start.hold.go()
        assert not start.hold.stopped  # its program may run by now, whenever we hear of that
        start.hold.kill("no address")
        assert [heard(link) for _ in range(2)] == [Go(7), Kill(7, "no address")]
        links.send(link, Changed(7, stopped=True, over="go", held=0.5))
        wait_until(lambda: world.changed == [ID], 10, "its end")
        assert (start.hold.over, start.hold.held) == ("go", 0.5)
        start.close()


def test_the_gate_ends(world: World) -> None:
    """With the gate all that it held runs: the daemon hears so of each."""
    with world.accept() as link:
        world.start(link)
        wait_until(lambda: world.starts, 10, "the start")
    world.thread.join(10)
    assert isinstance(world.failure, CompanionEnded)
    assert world.starts[0].hold
    assert world.starts[0].hold.over == "the gate ended"
    world.starts[0].close()


def test_dropped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that drops its daemon, and lives on, is not waited for: it holds until the daemon connects anew."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with subprocess.Popen(["sleep", "86400"]) as gate, theirs:
        monkeypatch.setattr(Kind, "connect", lambda *_: None)
        monkeypatch.setattr(Kind, "spawn", lambda *_: (gate, ours))
        world.thread.start()
        links.send(theirs, Hello(messages.PROTOCOL, "0.1.0"))
        theirs.close()
        try:
            world.thread.join(10)
            assert not world.thread.is_alive()
            assert isinstance(world.failure, CompanionEnded)
            assert gate.poll() is None
        finally:
            gate.kill()


def test_a_container_that_is_gone(world: World) -> None:
    """A container that the engine's files no longer have is released."""
    world.container = None
    with world.accept() as link:
        world.start(link)
        assert heard(link) == Go(7)
    assert not world.starts


def test_another_version(world: World) -> None:
    """A gate of another version goes on until nothing is held any more, and is then sent away.

    What it holds it tells after its first words, so it stays until it has nothing more to say.
    """
    with world.accept(version="0.0.9") as link:
        links.send(link, Watching(""))
        wait_until(lambda: world.problem == [""], 10, "its first words to be heard")
        assert not select.select([link], [], [], 0)[0]
        world.start(link)
        links.send(link, Alive())
        links.send(link, Watching("again"))
        wait_until(lambda: world.problem[-1] == "again", 10, "the start")
        assert not select.select([link], [], [], 0)[0]
        links.send(link, Changed(7, stopped=True, over="go", held=0.5))
        links.send(link, Alive())
        wait_until(lambda: world.gate._next, 10, "a gate of our version that stands by")
        links.send(link, Alive())
        assert heard(link) == Leave()
    world.thread.join(10)
    assert world.failure is None
    world.starts[0].close()
    assert world.gate._next
    child, standing_by = world.gate._next
    standing_by.close()
    child.kill()
    child.wait()


def test_no_descriptor_is_left(world: World) -> None:
    """A start whose descriptors do not reach the daemon is released, and the gate stays."""
    with world.accept() as link:
        said = Started(7, ID, "/c", 1, 0.0, 10.0, kill=False, has_hold=True)
        links.send(link, said)
        assert heard(link) == Go(7)
    assert not world.starts


@pytest.mark.parametrize("what", ["protocol", "garbled"])
def test_not_understood(world: World, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that cannot be understood is ended."""
    ended: list[object] = []
    monkeypatch.setattr(Kind, "end", lambda *_: ended.append(1))
    with world.accept(protocol=99 if what == "protocol" else messages.PROTOCOL) as link:
        if what == "garbled":
            link.send(b"{")
        world.thread.join(10)
    assert isinstance(world.failure, CompanionEnded)
    assert ended == [1]


def test_ended_whatever_its_version(tmp_path: Path) -> None:
    """A gate that cannot be worked with is ended, also one that another version of ours has started in its own way."""
    program = """import socket, sys, time  # dockercni.gate.process
listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listening.bind(sys.argv[1])
listening.listen()
time.sleep(86400)
"""
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path / messages.SOCKET)]) as gate:
        try:
            wait_until(lambda: client._GATE.connect(tmp_path), 10, "its socket")
            link = client._GATE.connect(tmp_path)
            assert link
            with link:
                client._GATE.end(link, None)
            assert gate.wait(10) == -signal.SIGKILL
        finally:
            gate.kill()


def test_what_it_says(world: World) -> None:
    """Its events become the daemon's, its threads count as the daemon's, and why it cannot watch is known."""
    with capture_logs() as logs, world.accept() as link:
        links.send(link, Said("warning", "cgroup ignored", {"id": ID}))
        links.send(link, Down({"starts": "MemoryError"}))
        links.send(link, Watching("no cgroups"))
        wait_until(lambda: world.problem == ["no cgroups"], 10, "the reason")
        assert supervision.down()["starts"] == "MemoryError"
        links.send(link, Down({}))
        wait_until(lambda: "starts" not in supervision.down(), 10, "all of them")
    assert [(log["event"], log["log_level"], log["id"]) for log in logs if log["event"] == "cgroup ignored"] == [
        ("cgroup ignored", "warning", ID)
    ]


def test_long_directory(tmp_path: Path) -> None:
    """A run directory with a path of any length will do."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    child, link = client._GATE.spawn(long)
    assert (long / messages.SOCKET).is_socket()
    with link:
        links.send(link, Leave())
        assert child.wait(20) == 0
