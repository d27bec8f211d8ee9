"""The daemon's side of the resolver: has one run, and has it know what the daemon knows, whatever is killed when.

The daemon keeps the sockets of all containers, too. So those of a resolver that dies are not lost, nor the questions
that wait in them: the next one gets them. One thread speaks with the resolver; others only change what it is to know.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from dockercni import __version__, supervision
from dockercni.companions import link as links
from dockercni.companions.starter import Child, CompanionEnded, Kind
from dockercni.linux import descriptors
from dockercni.linux.netns import Namespace
from dockercni.resolver import messages
from dockercni.resolver.messages import Complete, Hello, Known, Leave, Listen, Remove, Said, Serve, ToDaemon
from dockercni.resolver.upstream import OURS

_RESOLVER: Final = Kind(
    "the resolver, which answers containers' questions,", messages.SOCKET, "dockercni.resolver.process"
)
_SILENT: Final = 3.0  # seconds: three signs of life that did not come
_STARTING: Final = 15.0  # seconds that a resolver may take until its first word
_DESCRIPTORS: Final = 3  # beside Listen

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ports:
    """Where one container's questions are awaited, in its namespace."""

    udp: int
    tcp: int


class _Sockets:
    """One container's sockets and namespace, for as long as they are not closed."""

    def __init__(self, udp: int, tcp: int, namespace: int) -> None:
        self.udp = socket.socket(fileno=descriptors.move_up(udp))
        self.tcp = socket.socket(fileno=descriptors.move_up(tcp))
        self.namespace = Namespace(descriptors.move_up(namespace), "")
        self.ports = Ports(self.udp.getsockname()[1], self.tcp.getsockname()[1])

    @classmethod
    def made(cls, namespace: Namespace) -> _Sockets:
        """New ones, in that namespace. Raises OSError: without a loopback link there is no such address."""
        udp, tcp = namespace.run(_bound)
        return cls(udp.detach(), tcp.detach(), os.dup(namespace.fd))

    @property
    def fds(self) -> tuple[int, int, int]:
        return self.udp.fileno(), self.tcp.fileno(), self.namespace.fd

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()
        os.close(self.namespace.fd)


class ResolverClient:
    """The resolver whose socket is in `run_dir`. Thread-safe."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._guard = threading.Lock()
        self._known: dict[str, Known] = {}
        self._sockets: dict[str, _Sockets] = {}
        self._doubtful: set[str] = set()  # known from the resolver alone, until somebody speaks of them
        self._complete = False
        self._changed: set[str] = set()  # containers that the resolver is to hear of
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._has_met = threading.Event()
        self._closed = False
        self._child: Child | None = None

    def start(self, patience: float) -> None:
        """Have a resolver serve, from now on; wait for what it knows, but no longer than `patience` seconds.

        Sockets that are made before that take the place of those that it has.
        """
        supervision.start("resolver", self._run)
        self._has_met.wait(patience)

    def close(self) -> None:
        """Leave the resolver to itself: it serves on, and the next daemon takes it over."""
        self._closed = True
        os.eventfd_write(self._wake, 1)

    def listen(self, container_id: str, namespace: Namespace) -> Ports:
        """Have that container's questions answered; they are awaited at OURS in its namespace, at these ports.

        Raises OSError.
        """
        with self._guard:
            self._doubtful.discard(container_id)
            sockets = self._sockets.get(container_id)
            if sockets and sockets.namespace == namespace:
                return sockets.ports
            made = _Sockets.made(namespace)
            self._sockets[container_id] = made
            if sockets:
                sockets.close()
        self._tell_of(container_id)
        return made.ports

    def know(self, known: Known) -> None:
        """From now on this is what is known of that container. Raises ValueError for more than a message can hold."""
        if len(links.encoded(known)) > links.MAX_BYTES:
            raise ValueError(f"container {known.id} has too many names")
        with self._guard:
            self._known[known.id] = known
            self._doubtful.discard(known.id)
        self._tell_of(known.id)

    def remove(self, container_id: str) -> None:
        """Forget that container, and close its sockets; one that is not known is no error."""
        with self._guard:
            self._forget(container_id)
        self._tell_of(container_id)

    def complete(self) -> None:
        """All containers have been spoken of: what an earlier daemon has said of others is to go."""
        with self._guard:
            self._complete = True
            gone = set(self._doubtful)
            for container_id in gone:
                self._forget(container_id)
        self._tell_of(*gone)

    def _forget(self, container_id: str) -> None:
        self._known.pop(container_id, None)
        self._doubtful.discard(container_id)
        if sockets := self._sockets.pop(container_id, None):
            sockets.close()

    def _tell_of(self, *container_ids: str) -> None:
        with self._guard:
            self._changed.update(container_ids)
        os.eventfd_write(self._wake, 1)

    # the thread that speaks with it

    def _run(self) -> None:
        """Serve by one resolver after the other. Raises CompanionEnded, OSError: then this is called again."""
        while not self._closed:
            if self._child and self._child.poll() is not None:
                self._child = None
            link, patience = _RESOLVER.connect(self._run_dir), _SILENT
            if link is None:
                (self._child, link), patience = _RESOLVER.spawn(self._run_dir), _STARTING
            with link:
                self._speak(link, patience)

    def _speak(self, link: socket.socket, patience: float) -> None:
        """With one resolver, until it is to be left alone, or has gone because it is of another version."""
        try:
            links.send(link, Serve())
            if not self._met(link, patience):
                return
            self._has_met.set()
            with self._guard:
                self._changed |= self._known.keys() | self._sockets.keys()
            self._serve(link)
        except BaseException:
            _RESOLVER.end(link, self._child)
            raise

    def _met(self, link: socket.socket, patience: float) -> bool:
        """Hear all that it knows; False if another one is to come in its place. Raises CompanionEnded."""
        leaving = False
        while received := _RESOLVER.next(link, patience, messages.to_daemon):
            patience = _SILENT
            message, fds = received
            match message:
                case Hello(protocol, version):
                    if protocol != messages.PROTOCOL:
                        raise CompanionEnded(f"{_RESOLVER.words} is that of another version of dockercni")
                    leaving = version != __version__
                case Complete() if leaving:
                    links.send(link, Leave())  # its sockets live on in this process
                case Complete():
                    return True
                case _:
                    self._hear(message, fds)
        if not leaving:
            raise CompanionEnded(f"{_RESOLVER.words} has ended")
        return False

    def _serve(self, link: socket.socket) -> None:
        """Tell it what changes, and hear what it has to say. Raises CompanionEnded, OSError."""
        poll = select.poll()
        poll.register(link, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        heard = time.monotonic()
        told = False  # that all was said
        while not self._closed:
            all_sent = self._tell(link)
            if all_sent and self._complete and not told:
                links.send(link, Complete())
                told = True
            poll.modify(link, select.POLLIN if all_sent else select.POLLIN | select.POLLOUT)
            ready = dict(poll.poll(_SILENT * 1000))
            if self._wake in ready:
                os.eventfd_read(self._wake)
            if ready.get(link.fileno(), 0) & ~select.POLLOUT:
                received = _RESOLVER.next(link, _SILENT, messages.to_daemon)
                if received is None:
                    raise CompanionEnded(f"{_RESOLVER.words} has ended")
                self._hear(*received)
                heard = time.monotonic()
            elif time.monotonic() - heard > 2 * _SILENT:
                raise CompanionEnded(f"{_RESOLVER.words} gives no sign of life")

    def _tell(self, link: socket.socket) -> bool:
        """Tell it of containers that have changed; False if it reads too slowly for all of them."""
        while self._changed:
            with self._guard:
                container_id = self._changed.pop()
                known, sockets = self._known.get(container_id), self._sockets.get(container_id)
                try:
                    if known is None and sockets is None:
                        links.send(link, Remove(container_id))
                    if known:
                        links.send(link, known)
                    if sockets:
                        links.send(link, Listen(container_id), *sockets.fds)
                except BlockingIOError:
                    self._changed.add(container_id)
                    return False
        return True

    def _hear(self, message: ToDaemon, fds: list[int]) -> None:
        match message:
            case Known(container_id):
                with self._guard:
                    if self._adopts(container_id) and container_id not in self._known:
                        self._known[container_id] = message
            case Listen(container_id) if len(fds) == _DESCRIPTORS:
                with self._guard:
                    if self._adopts(container_id) and container_id not in self._sockets:
                        self._sockets[container_id] = _Sockets(*fds)
                        return
            case Said(level, event, fields):
                log.log(logging.getLevelNamesMapping()[level.upper()], event, **fields)
        for fd in fds:
            os.close(fd)

    def _adopts(self, container_id: str) -> bool:
        """Whether what the resolver says of that container is news: an earlier daemon has told it, and we have not."""
        if self._complete:
            return False
        if container_id not in self._known and container_id not in self._sockets:
            self._doubtful.add(container_id)
        return True


def dismiss(run_dir: Path) -> None:
    """End a resolver, since there will be no daemon any more; it is gone afterwards, and its socket."""
    try:
        link = _RESOLVER.connect(run_dir)
        if link:
            with link:
                links.send(link, Serve())
                links.send(link, Leave())
                while received := _RESOLVER.next(link, _SILENT, messages.to_daemon):
                    for fd in received[1]:
                        os.close(fd)
    except (CompanionEnded, OSError):  # it has ended, or hangs: then it ends when it sees that nobody is there
        return


def _bound() -> tuple[socket.socket, socket.socket]:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    udp.bind((OURS, 0))
    tcp.bind((OURS, 0))
    tcp.listen()
    return udp, tcp
