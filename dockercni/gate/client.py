"""The daemon's side of the gate: connects to a running gate or starts one, and passes on its messages."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from dockercni import __version__, supervision
from dockercni.companions.link import MAX_BYTES, Message, encoded, send
from dockercni.companions.starter import Child, CompanionEnded, Kind
from dockercni.docker.start_watch import Start, StartListener
from dockercni.errors import DockercniError
from dockercni.gate import messages
from dockercni.gate.messages import (
    Alive,
    Changed,
    Down,
    Ended,
    Go,
    Hello,
    Kill,
    Leave,
    Missed,
    Said,
    Serve,
    Served,
    Started,
    ToDaemon,
    Watching,
)
from dockercni.linux.hold.holder import Limit
from dockercni.linux.netns import Namespace
from dockercni.model import Container

_GATE: Final = Kind("the gate, which holds starting containers,", messages.SOCKET, "dockercni.gate.process")
_SILENT: Final = 3.0  # seconds without a message after which a gate counts as hanging
_STARTING: Final = 15.0  # seconds that a gate may take until its first message
_START_FDS: Final = 2  # descriptors that come with a start
_MAX_WORDS: Final = 4000  # characters of the last line on a container's stderr

log = structlog.get_logger()


class RemoteHold:
    """The hold of a start in the gate, which knows it by a number: see linux.hold.holder.Held."""

    def __init__(self, said: Started, send: Callable[[Message], bool]) -> None:
        self.stopped = said.stopped
        self.over = said.over
        self.held = said.held
        self._number = said.start
        self._send = send

    def go(self) -> None:
        """Release it. From now on its program may run, and its own changes of its network must not be undone."""
        self.stopped = False
        self._send(Go(self._number))

    def kill(self, words: str) -> None:
        """Kill it; `words` become the last line of its stderr."""
        self._send(Kill(self._number, words[:_MAX_WORDS]))


@dataclass(frozen=True, slots=True)
class _Known:
    """A start whose hold is not over."""

    container_id: str
    hold: RemoteHold


class GateClient:
    """The gate whose socket is in `run_dir`. Thread-safe.

    `described` returns what is known of a container's id, `listener` receives what happens to starts. `watching` is
    called with the reason why cgroups cannot be watched, "" when they are.
    """

    def __init__(
        self,
        run_dir: Path,
        described: Callable[[str], Container | None],
        listener: StartListener,
        watching: Callable[[str], None],
    ) -> None:
        self._run_dir = run_dir
        self._described = described
        self._listener = listener
        self._watching = watching
        self._guard = threading.Lock()
        self._link: socket.socket | None = None
        self._serve: Serve | None = None
        self._known: dict[int, _Known] = {}
        self._answered = threading.Event()
        self._closed = False
        self._child: Child | None = None  # the gate, if this process started it
        self._next: tuple[Child, socket.socket] | None = None  # a newer gate, ready
        self._met = False  # its Hello was read
        self._old = False  # it is of another version

    def start(self, serve: Serve, patience: float) -> None:
        """Have a gate serve from now on. Returns when it watches, or after `patience` seconds."""
        self._serve = serve
        supervision.start("gate", self._run)
        self._answered.wait(patience)

    def say(self, message: Message) -> bool:
        """Send a message to the gate; whether it was sent. Each new gate gets the latest Serve first."""
        if isinstance(message, Serve):
            self._serve = message
        with self._guard:
            if self._link is None:
                return False
            try:
                send(self._link, message)
            except OSError:  # it hangs, which its silence will show
                return False
            return True

    def close(self) -> None:
        """Disconnect. The gate waits for another daemon, and ends if none comes."""
        with self._guard:
            self._closed = True
            if self._link:
                self._link.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        """Serve one gate after the other. Raises CompanionEnded, OSError; the supervisor then calls this again."""
        while not self._closed:
            self._serve_one()

    def _serve_one(self) -> None:
        """Read one gate's messages, until it ends or we do."""
        self._met = False
        if self._child and self._child.poll() is not None:
            self._child = None
        standing_by, self._next = self._next, None
        link = None if standing_by else _GATE.connect(self._run_dir)
        found = link is not None
        if link is None:
            self._child, link = standing_by or _GATE.spawn(self._run_dir)
        with self._guard:
            if self._closed:
                link.close()
                return
            self._link = link
        try:
            with contextlib.suppress(ConnectionError):  # it has ended
                self._listen(link)
        except BaseException:
            _GATE.end(link, self._child)
            raise
        finally:
            with self._guard:
                self._link = None
            link.close()
            self._all_released()
        # It may live on: a gate drops a daemon that reads too slowly, and goes on holding until the daemon reconnects.
        # One that was found and ends before its Hello was about to end anyway, since no daemon came.
        if not self._closed and not self._old and (self._met or not found):
            raise CompanionEnded(f"{_GATE.words} ended or disconnected this daemon")

    def _listen(self, link: socket.socket) -> None:
        if self._serve:
            send(link, self._serve)
        patience = _STARTING
        while data := _GATE.next(link, patience, messages.to_daemon):
            patience = _SILENT
            self._received(*data)
            # An old gate is replaced when it holds nothing. Alive comes when it has reported everything that it holds.
            if self._old and not self._known and isinstance(data[0], Alive):
                self._replace(link)

    def _replace(self, link: socket.socket) -> None:
        """Start a gate of our version first, and the next time end the old one, because starting takes a moment."""
        if self._next:
            send(link, Leave())
        else:
            with contextlib.suppress(OSError, CompanionEnded):  # it is tried again
                self._next = _GATE.spawn(self._run_dir)

    def _received(self, message: ToDaemon, fds: list[int]) -> None:
        match message:
            case Hello(protocol, version):
                if protocol != messages.PROTOCOL:
                    raise CompanionEnded("the gate belongs to another version of dockercni, with another protocol")
                self._met, self._old = True, version != __version__
            case Watching(problem):
                self._watching(problem)
                self._answered.set()
            case Down(threads):
                supervision.elsewhere(threads)
            case Said(level, event, fields):
                log.log(logging.getLevelNamesMapping()[level.upper()], event, **fields)
            case _:
                self._received_of_start(message, fds)

    def _received_of_start(self, message: ToDaemon, fds: list[int]) -> None:
        match message:
            case Started():
                self._started(message, fds)
            case Changed(number, stopped, over, held):
                self._changed(number, stopped=stopped, over=over, held=held)
            case Ended(container_id, cgroup):
                self._listener.ended(container_id, cgroup)
            case Missed(container_id, reason):
                if container := self._describe(container_id):
                    self._listener.missed(container, reason)

    def _started(self, said: Started, fds: list[int]) -> None:
        hold = RemoteHold(said, self.say) if said.has_hold else None
        container = self._describe(said.container_id) if len(fds) == _START_FDS else None
        if container is None:  # it is gone, or this process has no descriptor left
            for fd in fds:
                os.close(fd)
            if hold:
                hold.go()
            return
        namespace, directory = fds
        start = Start(
            replace(container, running=True, pid=said.pid),
            Namespace(namespace, f"/proc/{said.pid}/ns/net"),
            said.cgroup,
            directory,
            Limit(said.seconds, said.kill),
            hold,
            said.since,
        )
        if hold and not hold.over:
            self._known[said.start] = _Known(said.container_id, hold)
        self._listener.started(start)

    def _describe(self, container_id: str) -> Container | None:
        try:
            return self._described(container_id)
        except DockercniError as error:
            log.warning("start not followed", id=container_id, reason=str(error))
            return None

    def _changed(self, number: int, *, stopped: bool, over: str, held: float) -> None:
        if not (known := self._known.get(number)):
            return
        known.hold.held, known.hold.stopped, known.hold.over = held, stopped, over
        if over:
            del self._known[number]
        self._listener.held(known.container_id)

    def _all_released(self) -> None:
        for number in list(self._known):
            stopped = self._known[number].hold.stopped
            self._changed(number, stopped=stopped, over="the gate ended", held=0.0)


def dismiss(run_dir: Path) -> None:
    """End a gate that waits for a daemon; when this returns, it and its socket are gone."""
    _send(run_dir, [Leave()], to_the_end=True)


def served(run_dir: Path, container_ids: Iterable[str]) -> None:
    """Report that these containers have their networks: a gate that holds any of them releases it."""
    _send(run_dir, map(Served, container_ids))


def _send(run_dir: Path, sent: Iterable[Message], *, to_the_end: bool = False) -> None:
    with contextlib.suppress(OSError):
        if link := _GATE.connect(run_dir):
            with link:
                link.settimeout(_SILENT)
                for message in sent:
                    link.send(encoded(message))
                while to_the_end and link.recv(MAX_BYTES):
                    pass
