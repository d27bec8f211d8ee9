"""The gate's own process, which `main` runs.

    cgroup appears -> StartWatch finds the namespace, and has the hold's helper seize the process
                   -> the daemon gets Started, attaches the container, and answers Go

While no daemon is connected (it is restarted, upgraded, or was killed) starts are found and held all the same, each to
its limit, and the next daemon gets all of them. If none comes within LINGER, the gate stops watching, and ends when
nothing is held any more. Its own end ends the helper, and the kernel then releases everything. docker.start_watch has
the states of a start.

Its log goes to the daemon as messages. Its own streams lead nowhere: who waits for the end of the daemon's output must
not have to wait for the gate's.

Why a process of its own: of twenty containers that started while the daemon was restarted, 13 had their network at the
first instruction when these threads lived in the daemon, and 20 do now. It is also out of the way of the daemon's other
threads, of which the interpreter runs one at a time. A sidecar's gate ends with its container.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import structlog
from structlog.typing import EventDict

from dockercni import __version__, supervision
from dockercni.companions import link as links
from dockercni.companions.door import Door
from dockercni.companions.link import Message
from dockercni.docker.data_root import Files
from dockercni.docker.image_labels import Images
from dockercni.docker.start_proof import Proof
from dockercni.docker.start_watch import Start, StartListener, StartWatch
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
    ToGate,
    TryAgain,
    Watching,
)
from dockercni.linux import cgroups, urgency
from dockercni.linux.hold.holder import Held, Holder, Limit
from dockercni.model import Container
from dockercni.reconcile import images
from dockercni.reconcile.labels import Holding
from dockercni.reconcile.limits import Limits

LINGER: Final = 15.0  # seconds without a daemon; a service manager restarts one much sooner
_SWITCH: Final = 0.0005  # seconds after which a computing thread yields to others: a tenth of the default
_FIRST_PAUSE: Final = 1.0  # seconds until the next attempt to watch the cgroups, doubled each time
_LONGEST_PAUSE: Final = 60.0
_KEPT: Final = 100  # log events that wait for a daemon
_LONGEST: Final = 4096  # characters of a value in the log


class GateProcess:
    """Serves one daemon after the other."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._guard = threading.RLock()
        self._link: socket.socket | None = None
        self._strangers: dict[int, socket.socket] = {}  # connected, but no Serve came yet
        self._alone_since = time.monotonic()
        self._spoke = 0.0
        self._closing = False
        self._numbers = itertools.count(1)
        self._starts: dict[int, Start] = {}
        self._said: collections.deque[Said] = collections.deque(maxlen=_KEPT)
        self._holder = Holder()
        self._files: Files | None = None
        self._images = Images()
        self._proof = Proof()
        self._limits = Limits(Holding(), "all", may_hold=False)
        self._serving = threading.Event()
        self._again = threading.Event()
        self._problem: str | None = None

    def run(self) -> None:
        """Serve until no daemon needs it any more."""
        supervision.on_change(self._tell_down)
        supervision.start("starts", self._watch)
        while True:
            poll = select.poll()
            poll.register(self._door, select.POLLIN)
            known = self._known()
            for fd in known:
                poll.register(fd, select.POLLIN)
            ready = poll.poll(messages.ALIVE * 1000)
            for fd, _ in ready:
                if fd == self._door.fileno():
                    self._accept()
                elif not self._receive(known[fd]):
                    return
            if time.monotonic() - self._spoke >= messages.ALIVE:
                self._send(Alive())
            if self._link is None and self._given_up():
                return

    def _known(self) -> dict[int, socket.socket]:
        """The connections by descriptor. Reading from one that another thread drops meanwhile fails, which is fine."""
        with self._guard:
            daemon = {self._link.fileno(): self._link} if self._link else {}
        return {**self._strangers, **daemon}

    def _given_up(self) -> bool:
        with self._guard:
            self._closing = self._closing or time.monotonic() - self._alone_since > LINGER or self._lost()
            return self._closing and not self._starts

    def _lost(self) -> bool:
        """Whether no daemon can find this gate, so that the next one starts another."""
        return self._link is None and self._door.lost()

    def _accept(self) -> None:
        if link := self._door.accept():
            links.widen(link)
            self._strangers[link.fileno()] = link

    def _meet(self, link: socket.socket) -> None:
        """Take the sender of a Serve for the daemon from now on, and report everything to it."""
        del self._strangers[link.fileno()]
        with self._guard:
            self._drop_link()
            self._link, self._closing = link, False
            self._send(Hello(messages.PROTOCOL, __version__))
            self._tell_down()
            if self._problem is not None:
                self._send(Watching(self._problem))
            while self._said and self._send(self._said[0]):
                self._said.popleft()
            for number in list(self._starts):
                self._tell(number)

    def _tell_down(self) -> None:
        self._send(Down(supervision.down()))

    def _drop_link(self) -> None:
        if self._link:
            self._link.close()
            self._link = None
            self._alone_since = time.monotonic()

    def _receive(self, link: socket.socket) -> bool:
        """Carry out a connection's next message; False for the one that ends the gate."""
        try:
            received = links.receive(link, messages.to_gate)
            message = received[0] if received else None
        except (OSError, ValueError):
            message = None
        if message is None:
            if stranger := self._strangers.pop(link.fileno(), None):
                stranger.close()
            with self._guard:
                if self._link is link:
                    self._drop_link()
            return True
        if isinstance(message, Serve) and link.fileno() in self._strangers:
            self._meet(link)
        if isinstance(message, Leave) and link is self._link:
            return bool(self._starts)  # a start that the daemon did not know of when it sent this
        return self._obey(message)

    def _obey(self, message: ToGate) -> bool:
        match message:
            case Serve():
                self._serve(message)
            case Served() if self._link:
                pass  # the daemon decides; the container may have been restarted since the command looked
            case Go() | Served():
                for hold in self._meant(message):
                    hold.go()
            case Kill():
                for hold in self._meant(message):
                    hold.kill(message.words)
            case TryAgain():
                self._again.set()
            case Leave():
                return False
        return True

    def _meant(self, message: Go | Kill | Served) -> Iterator[Held]:
        for number, start in list(self._starts.items()):
            meant = (
                start.container.id == message.container_id if isinstance(message, Served) else number == message.start
            )
            if start.hold and meant:
                yield start.hold

    def _serve(self, said: Serve) -> None:
        self._limits = Limits(Holding(said.hold, said.on_failure), said.attach, said.may_hold)
        if not self._serving.is_set():
            self._images = images.kept(Path(said.state_dir))
            self._images.known("")  # loads them now, so that the thread that watches starts need not wait for a disk
        self._proof.serve(said.engine)
        root = Path(said.root)
        self._files = Files(root, said.trust_image_labels, self._images) if said.root else None
        if said.may_hold and said.hold:
            with contextlib.suppress(OSError):  # the first hold tries again, and reports the error
                self._holder.start()
        self._serving.set()

    # Finding and holding

    def _watch(self) -> None:
        self._serving.wait()
        pause = _FIRST_PAUSE
        while True:
            try:
                watch = self._begin()
                pause = _FIRST_PAUSE
                watch.run()
            except OSError as error:
                self._watching(error.strerror or str(error))
            self._again.wait(pause)
            self._again.clear()
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _begin(self) -> StartWatch:
        listener = StartListener(self._started, self._held, self._ended, self._missed)
        watch = StartWatch(cgroups.hierarchy(), self._container, self._wanted, self._proof, self._holder, listener)
        self._watching("")
        return watch

    def _watching(self, problem: str) -> None:
        with self._guard:
            self._problem = problem
            self._send(Watching(problem))

    def _container(self, container_id: str) -> Container | None:
        files = self._files
        return files.container(container_id) if files and not (self._closing or self._lost()) else None

    def _wanted(self, container: Container) -> Limit | None:
        return self._limits.of(container)

    def _started(self, start: Start) -> None:
        with self._guard:
            number = next(self._numbers)
            self._starts[number] = start
            self._tell(number)
            if start.hold is None:  # nothing to release; a later daemon finds the container running
                self._forget(number)
            elif start.hold.over:  # it ended before it was in _starts, so _held could not find it
                self._held(start.container.id)

    def _held(self, container_id: str) -> None:
        with self._guard:
            for number, start in list(self._starts.items()):
                hold = start.hold
                if hold and start.container.id == container_id:
                    self._send(Changed(number, hold.stopped, hold.over, hold.held))
                    if hold.over:
                        self._forget(number)

    def _ended(self, container_id: str, cgroup: str) -> None:
        self._send(Ended(container_id, cgroup))

    def _missed(self, container: Container, reason: str) -> None:
        self._send(Missed(container.id, reason))

    def _tell(self, number: int) -> None:
        start = self._starts[number]
        hold = start.hold
        self._send(
            Started(
                number,
                start.container.id,
                start.cgroup,
                start.container.pid,
                start.since,
                start.limit.seconds,
                start.limit.kill,
                has_hold=hold is not None,
                stopped=bool(hold and hold.stopped),
                over=hold.over if hold else "",
                held=hold.held if hold else 0.0,
            ),
            start.namespace.fd,
            start.directory,
        )

    def _forget(self, number: int) -> None:
        self._starts.pop(number).close()

    def _send(self, message: Message, *fds: int) -> bool:
        """Send a message to the daemon; whether it was sent.

        A daemon that does not read is disconnected, and connects again if it can.
        """
        with self._guard:
            if self._link is None:
                return False
            try:
                links.send(self._link, message, *fds)
            except BlockingIOError:
                self._drop_link()
                return False
            except OSError:  # it is gone; its last messages are still to be read
                return False
            self._spoke = time.monotonic()
            return True

    # The log

    def say(self, _logger: Any, _method: str, event: EventDict) -> str:
        """Send a log event to the daemon: the last of structlog's processors."""
        level, name = str(event.pop("level")), str(event.pop("event"))
        said = Said(level, name, {key: _text(value) for key, value in event.items()})
        with self._guard:
            if not self._send(said):
                self._said.append(said)
        raise structlog.DropEvent


def _text(value: object) -> str:
    """A value as text; a file name in it may hold bytes that are no text."""
    return str(value)[-_LONGEST:].encode(errors="backslashreplace").decode()


def main(fd: int, run_dir: str) -> None:
    """Serve on the listening socket `fd`, whose file is in `run_dir`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)  # it ends when no daemon needs it any more
    os.chdir("/")
    urgency.ask()
    sys.setswitchinterval(_SWITCH)
    directory = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    door = Door(socket.socket(fileno=fd), directory, messages.SOCKET)
    gate = GateProcess(door)
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.format_exc_info, gate.say],
        cache_logger_on_first_use=True,
    )
    supervision.install()
    gate.run()
    door.remove()
    os._exit(0)  # no cleanup: processes may stand still until the kernel detaches them
