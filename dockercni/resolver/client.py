"""The daemon's side of the resolver: keeps one running, and sends it names and sockets.

The daemon has descriptors of all sockets, too. So when a resolver dies, the questions that wait in its sockets are not
lost: the next resolver gets the same sockets. One thread exchanges messages with the resolver. Other threads only
change the state here, and mark the containers that it has to send.
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
from dockercni.resolver.messages import Complete, Hello, Leave, Listen, Names, Remove, Said, Serve, ToDaemon
from dockercni.resolver.upstream import OURS

_RESOLVER: Final = Kind(
    "the resolver, which answers containers' questions,", messages.SOCKET, "dockercni.resolver.process"
)
_SILENT: Final = 3.0  # seconds without a message, twice which a resolver counts as hanging
_STARTING: Final = 15.0  # seconds that a new resolver may take until its first message
_LISTEN_FDS: Final = 3  # descriptors that come with Listen

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the resolver listens in one container's namespace, at OURS."""

    udp: int
    tcp: int


class _Sockets:
    """One container's sockets and namespace. Takes over the descriptors."""

    def __init__(self, udp: int, tcp: int, namespace: int) -> None:
        self.udp = socket.socket(fileno=descriptors.move_up(udp))
        self.tcp = socket.socket(fileno=descriptors.move_up(tcp))
        self.namespace = Namespace(descriptors.move_up(namespace), "")
        self.ports = Ports(self.udp.getsockname()[1], self.tcp.getsockname()[1])

    @classmethod
    def made(cls, namespace: Namespace) -> _Sockets:
        """New sockets in that namespace. Raises OSError (EADDRNOTAVAIL: its loopback link is down)."""
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
        self._names: dict[str, Names] = {}
        self._sockets: dict[str, _Sockets] = {}
        self._inherited: set[str] = set()  # containers from an earlier daemon that this one did not confirm yet
        self._complete = False
        self._changed: set[str] = set()  # containers still to be sent to the resolver
        self._unheard: set[str] = set()  # those whose names were sent, and whose sockets come next
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._taken_over = threading.Event()
        self._closed = False
        self._child: Child | None = None

    def start(self, patience: float) -> None:
        """Have a resolver serve from now on. Returns when its state was taken over, or after `patience` seconds.

        After that, sockets that `listen` makes replace those of the resolver.
        """
        supervision.start("resolver", self._run)
        self._taken_over.wait(patience)

    def close(self) -> None:
        """Disconnect. The resolver goes on, and the next daemon takes it over."""
        self._closed = True
        os.eventfd_write(self._wake, 1)

    def listen(self, container_id: str, namespace: Namespace) -> Ports:
        """Have the resolver listen in that container's namespace, and return where. Raises OSError."""
        with self._guard:
            self._inherited.discard(container_id)
            sockets = self._sockets.get(container_id)
            if sockets and sockets.namespace == namespace:
                return sockets.ports
            made = _Sockets.made(namespace)
            self._sockets[container_id] = made
            if sockets:
                sockets.close()
        self._mark_changed(container_id)
        return made.ports

    def set_names(self, names: Names) -> None:
        """Set a container's names, addresses and servers. Raises ValueError if they do not fit into one message."""
        if len(links.encoded(names)) > links.MAX_BYTES:
            raise ValueError(f"container {names.id} has too many names")
        with self._guard:
            self._names[names.id] = names
            self._inherited.discard(names.id)
        self._mark_changed(names.id)

    def remove(self, container_id: str) -> None:
        """Forget a container and close its sockets. One that is not known is no error."""
        with self._guard:
            self._forget(container_id)
        self._mark_changed(container_id)

    def complete(self) -> None:
        """All containers were set: forget those of an earlier daemon that were not."""
        with self._guard:
            self._complete = True
            gone = set(self._inherited)
            for container_id in gone:
                self._forget(container_id)
        self._mark_changed(*gone)

    def _forget(self, container_id: str) -> None:
        self._names.pop(container_id, None)
        self._inherited.discard(container_id)
        if sockets := self._sockets.pop(container_id, None):
            sockets.close()

    def _mark_changed(self, *container_ids: str) -> None:
        with self._guard:
            self._changed.update(container_ids)
        os.eventfd_write(self._wake, 1)

    # The thread that exchanges messages

    def _run(self) -> None:
        """Use one resolver after the other. Raises CompanionEnded, OSError; the supervisor then calls this again."""
        while not self._closed:
            if self._child and self._child.poll() is not None:
                self._child = None
            link, patience = _RESOLVER.connect(self._run_dir), _SILENT
            if link is None:
                (self._child, link), patience = _RESOLVER.spawn(self._run_dir), _STARTING
            with link:
                self._serve_one(link, patience)

    def _serve_one(self, link: socket.socket, patience: float) -> None:
        """Use one resolver, until we disconnect or it was replaced as one of another version."""
        try:
            links.send(link, Serve())
            if not self._take_over(link, patience):
                return
            self._taken_over.set()
            with self._guard:
                self._changed |= self._names.keys() | self._sockets.keys()
            self._exchange(link)
        except BaseException:
            _RESOLVER.end(link, self._child)
            raise

    def _take_over(self, link: socket.socket, patience: float) -> bool:
        """Take over its state. False if it was of another version, and ended for a new one. Raises CompanionEnded."""
        leaving = False
        while received := _RESOLVER.next(link, patience, messages.to_daemon):
            patience = _SILENT
            message, fds = received
            match message:
                case Hello(protocol, version):
                    if protocol != messages.PROTOCOL:
                        raise CompanionEnded(
                            "the resolver belongs to another version of dockercni, with another protocol"
                        )
                    leaving = version != __version__
                case Complete() if leaving:
                    links.send(link, Leave())  # this process has its sockets now
                case Complete():
                    return True
                case _:
                    self._received(message, fds)
        if not leaving:
            raise CompanionEnded(f"{_RESOLVER.words} ended")
        return False

    def _exchange(self, link: socket.socket) -> None:
        """Send it what changes, and read its messages. Raises CompanionEnded, OSError."""
        poll = select.poll()
        poll.register(link, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        heard = time.monotonic()
        completed = False  # Complete was sent
        while not self._closed:
            all_sent = self._send_changes(link)
            if all_sent and self._complete and not completed:
                links.send(link, Complete())
                completed = True
            poll.modify(link, select.POLLIN if all_sent else select.POLLIN | select.POLLOUT)
            ready = dict(poll.poll(_SILENT * 1000))
            if self._wake in ready:
                os.eventfd_read(self._wake)
            if ready.get(link.fileno(), 0) & ~select.POLLOUT:
                received = _RESOLVER.next(link, _SILENT, messages.to_daemon)
                if received is None:
                    raise CompanionEnded(f"{_RESOLVER.words} ended")
                self._received(*received)
                heard = time.monotonic()
            elif time.monotonic() - heard > 2 * _SILENT:
                raise CompanionEnded(f"{_RESOLVER.words} was silent for {2 * _SILENT:g} s")

    def _send_changes(self, link: socket.socket) -> bool:
        """Send the containers that changed; False if it reads too slowly for all of them.

        All names come before the first sockets: a question that waits in one of them may be for any of the names.
        """
        for waiting, send in ((self._changed, self._send_names), (self._unheard, self._send_sockets)):
            while waiting:
                with self._guard:
                    container_id = waiting.pop()
                    try:
                        send(link, container_id)
                    except BlockingIOError:
                        waiting.add(container_id)
                        return False
        return True

    def _send_names(self, link: socket.socket, container_id: str) -> None:
        names = self._names.get(container_id)
        if names:
            links.send(link, names)
        elif container_id not in self._sockets:
            links.send(link, Remove(container_id))
        self._unheard.add(container_id)

    def _send_sockets(self, link: socket.socket, container_id: str) -> None:
        if sockets := self._sockets.get(container_id):
            links.send(link, Listen(container_id), *sockets.fds)

    def _received(self, message: ToDaemon, fds: list[int]) -> None:
        match message:
            case Names(container_id):
                with self._guard:
                    if self._inherits(container_id) and container_id not in self._names:
                        self._names[container_id] = message
            case Listen(container_id) if len(fds) == _LISTEN_FDS:
                with self._guard:
                    if self._inherits(container_id) and container_id not in self._sockets:
                        self._sockets[container_id] = _Sockets(*fds)
                        return
            case Said(level, event, fields):
                log.log(logging.getLevelNamesMapping()[level.upper()], event, **fields)
        for fd in fds:
            os.close(fd)

    def _inherits(self, container_id: str) -> bool:
        """Whether to take over a container from the resolver: not once the daemon has set all of its own."""
        if self._complete:
            return False
        if container_id not in self._names and container_id not in self._sockets:
            self._inherited.add(container_id)
        return True


def dismiss(run_dir: Path) -> None:
    """End the resolver; when this returns, it and its socket are gone."""
    try:
        link = _RESOLVER.connect(run_dir)
        if link:
            with link:
                links.send(link, Serve())
                links.send(link, Leave())
                while received := _RESOLVER.next(link, _SILENT, messages.to_daemon):
                    for fd in received[1]:
                        os.close(fd)
    except (CompanionEnded, OSError):  # it ended meanwhile, or it hangs
        return


def _bound() -> tuple[socket.socket, socket.socket]:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    udp.bind((OURS, 0))
    tcp.bind((OURS, 0))
    tcp.listen()
    return udp, tcp
