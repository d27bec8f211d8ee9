"""The gate's process: what it says to its daemons, when it ends, and whom it lets in."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from dockercni import __version__
from dockercni.companions import link as links
from dockercni.companions.door import Door
from dockercni.companions.link import Message
from dockercni.docker.start_watch import Start
from dockercni.gate import client, messages, process
from dockercni.gate.messages import Alive, Changed, Down, Ended, Hello, Leave, Said, Serve, TryAgain, Watching
from dockercni.gate.process import GateProcess
from dockercni.linux import cgroups
from dockercni.linux.hold.holder import Limit
from dockercni.linux.netns import Namespace
from dockercni.model import Container
from tests.hosts import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Connect = Callable[[], socket.socket]


ID = "0" * 64


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GateProcess]:
    """One that watches an empty directory, and has not begun to serve."""
    (tmp_path / "cgroups").mkdir()
    monkeypatch.setattr(cgroups, "hierarchy", lambda: tmp_path / "cgroups")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(tmp_path / messages.SOCKET))
        listening.listen()
        directory = os.open(tmp_path, os.O_RDONLY)
        yield GateProcess(Door(listening, directory, messages.SOCKET))
        os.close(directory)


@pytest.fixture
def running(gate: GateProcess, tmp_path: Path) -> Iterator[threading.Thread]:
    """It serves."""
    thread = threading.Thread(target=gate.run)
    thread.start()
    yield thread
    if thread.is_alive():
        with connected(tmp_path) as link:
            tell(link, Leave())
        thread.join(10)
    assert not thread.is_alive()


def connected(directory: Path) -> socket.socket:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link.connect(str(directory / messages.SOCKET))
    return link


def tell(link: socket.socket, message: Message) -> None:
    links.send(link, message)


def heard(link: socket.socket, kind: type[Message]) -> Any:
    """Its next message of that kind."""
    while select.select([link], [], [], 10)[0]:
        said = links.receive(link, messages.to_daemon)
        assert said, "it has ended"
        if isinstance(said[0], kind):
            return said[0]
    raise AssertionError(f"no {kind.__name__}")


def orders(directory: Path) -> Serve:
    return Serve(str(directory), "", str(directory), 0.0, "leave", "all", trust_image_labels=False, may_hold=False)


@pytest.mark.usefixtures("running")
def test_first_words(tmp_path: Path) -> None:
    """It says who it is, and once it serves that it watches; a daemon that comes later hears the same."""
    for _ in range(2):
        with connected(tmp_path) as link:
            tell(link, orders(tmp_path))
            assert heard(link, Hello) == Hello(messages.PROTOCOL, __version__)
            assert heard(link, Down) == Down({})
            assert heard(link, Watching) == Watching("")


def test_tried_again(running: threading.Thread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be watched is said with the reason, and tried again when the daemon asks for it."""
    places: list[Path | OSError] = [OSError(24, "inotify is at its limit"), tmp_path / "cgroups"]

    def hierarchy() -> Path:
        place = places.pop(0)
        if isinstance(place, OSError):
            raise place
        return place

    monkeypatch.setattr(cgroups, "hierarchy", hierarchy)
    with connected(tmp_path) as link:
        tell(link, orders(tmp_path))
        assert heard(link, Watching).problem == "inotify is at its limit"
        tell(link, TryAgain())
        assert heard(link, Watching).problem == ""
    assert running.is_alive()


@pytest.mark.usefixtures("running")
def test_a_thread_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread that follows starts is started anew when an exception ends it, which the daemon hears."""
    failures = [MemoryError()]

    def hierarchy() -> Path:
        if failures:
            raise failures.pop()
        return tmp_path / "cgroups"

    monkeypatch.setattr(cgroups, "hierarchy", hierarchy)
    with connected(tmp_path) as link:
        tell(link, orders(tmp_path))
        assert heard(link, Down) == Down({})
        assert heard(link, Down) == Down({"starts": "MemoryError"})
        assert heard(link, Down) == Down({})
        assert heard(link, Watching).problem == ""


def test_a_daemon_that_reads_late(gate: GateProcess, running: threading.Thread, tmp_path: Path) -> None:
    """It is not dropped for a few hundred messages that it has not read: so many containers start on a host at once."""
    with connected(tmp_path) as link:
        tell(link, orders(tmp_path))
        assert heard(link, Hello)
        assert all(gate._send(Ended(ID, f"/sys/fs/cgroup/{ID}{number:0200}")) for number in range(300))
        assert heard(link, Ended)
    assert running.is_alive()


@dataclass
class FakeHold:
    """One that somebody else holds."""

    stopped: bool = True
    over: str = ""
    held: float = 0.0

    def go(self) -> None:
        self.over = "go"

    def kill(self, words: str) -> None:
        self.over = words


def start(hold: FakeHold) -> Start:
    namespace, directory = os.open("/proc/self/ns/net", os.O_RDONLY), os.open("/", os.O_RDONLY)
    return Start(Container(ID, "web", running=True), Namespace(namespace, ""), "/c", directory, Limit(60.0), hold)


def test_sent_away(gate: GateProcess, running: threading.Thread, tmp_path: Path) -> None:
    """A daemon that sends it away may not have heard of what it has just held: it ends when nothing is held."""
    hold = FakeHold()
    with connected(tmp_path) as link:
        tell(link, orders(tmp_path))
        assert heard(link, Hello)
        gate._started(start(hold))
        tell(link, Leave())
        assert heard(link, Alive)
        hold.over = "go"
        gate._held(ID)
        tell(link, Leave())
        wait_until(lambda: not running.is_alive(), 10, "its end")


@pytest.mark.usefixtures("running")
def test_served(gate: GateProcess, tmp_path: Path) -> None:
    """What a command has attached may go if there is no daemon; one that is there knows which start has its network."""
    hold = FakeHold()
    with connected(tmp_path) as link:
        tell(link, orders(tmp_path))
        assert heard(link, Hello)
        gate._started(start(hold))
        client.served(tmp_path, [ID])
        assert heard(link, Alive)
        assert not hold.over
    wait_until(lambda: gate._link is None, 10, "the daemon's end")
    client.served(tmp_path, [ID])
    wait_until(lambda: hold.over == "go", 10, "its going")
    gate._held(ID)


@pytest.mark.usefixtures("running")
def test_over_before_it_is_reported(gate: GateProcess, tmp_path: Path) -> None:
    """A hold that is over when its start is reported, because the helper has just ended, is reported as over."""
    with connected(tmp_path) as link:
        tell(link, orders(tmp_path))
        assert heard(link, Hello)
        gate._started(start(FakeHold(over="the helper ended")))
        assert heard(link, Changed).over == "the helper ended"
    assert not gate._starts


@pytest.mark.usefixtures("running")
def test_no_text(gate: GateProcess, tmp_path: Path) -> None:
    """A file name that is no UTF-8 is logged all the same."""
    with connected(tmp_path) as link:
        tell(link, orders(tmp_path))
        assert heard(link, Hello)
        with pytest.raises(structlog.DropEvent):
            gate.say(None, "", {"level": "warning", "event": "cgroup ignored", "path": os.fsdecode(b"/\xff")})
        assert heard(link, Said).fields == {"path": "/\\udcff"}


def test_without_a_daemon(
    gate: GateProcess, running: threading.Thread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has to say for the log waits for the next daemon; without one it ends after a while."""
    with connected(tmp_path) as link:
        tell(link, orders(tmp_path))
        assert heard(link, Hello)
    with pytest.raises(structlog.DropEvent):
        gate.say(None, "", {"level": "warning", "event": "cgroup ignored", "id": "one", "number": 1})
    with connected(tmp_path) as link:
        tell(link, orders(tmp_path))
        assert heard(link, Said) == Said("warning", "cgroup ignored", {"id": "one", "number": "1"})
    monkeypatch.setattr(process, "LINGER", 0.0)
    wait_until(lambda: not running.is_alive(), 10, "its end")


def test_nobody_can_find_it(running: threading.Thread, tmp_path: Path) -> None:
    """With its socket gone, no daemon will come: the next one starts another gate, and only one may hold."""
    with connected(tmp_path) as link:
        tell(link, orders(tmp_path))
        assert heard(link, Hello)
        (tmp_path / messages.SOCKET).unlink()
        tell(link, orders(tmp_path))
        assert heard(link, Watching)  # its daemon is still there
    wait_until(lambda: not running.is_alive(), 10, "its end")


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(
    "data",
    [b"{", b'{"say":"Go"}', b'{"say":"Nothing"}', b"\xff" * 100, b'{"say":"Served","container_id":"\xff"}'],
)
def test_garbled(tmp_path: Path, data: bytes) -> None:
    """Who says what cannot be understood is not heard any longer, be it the daemon; the next one is."""
    for first in (False, True):
        with connected(tmp_path) as link:
            if not first:
                tell(link, orders(tmp_path))
                assert heard(link, Hello)
            link.send(data)
            with contextlib.suppress(ConnectionError):
                while link.recv(links.MAX_BYTES):
                    pass
    with connected(tmp_path) as link:
        tell(link, orders(tmp_path))
        assert heard(link, Hello)


@pytest.mark.usefixtures("running")
def test_commands_beside_the_daemon(tmp_path: Path) -> None:
    """A command that has something to say does not come in the place of the daemon."""
    with connected(tmp_path) as link:
        tell(link, orders(tmp_path))
        assert heard(link, Watching)
        client.served(tmp_path, ["0" * 64])
        assert heard(link, Alive)
