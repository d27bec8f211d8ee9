"""The resolver's own process, which `main` runs.

    a container's question -> its socket (Listeners) -> Table: the addresses of a container on a common network
                                                     -> Forwarder: the answer of another DNS server

The daemon makes the sockets in the containers' namespaces, and sends them with the containers' names. While no daemon
is connected (it is restarted, upgraded, or was killed), the resolver goes on with what it has, and the next daemon gets
all of it. Without a daemon and without containers it ends after LINGER.

Its log goes to the daemon as messages, because its own streams lead nowhere.
"""

from __future__ import annotations

import collections
import os
import signal
import socket
import time
import traceback
from typing import Final

from dockercni import __version__
from dockercni.companions import link as links
from dockercni.companions.door import Door
from dockercni.companions.link import Message
from dockercni.linux import descriptors
from dockercni.linux.netns import Namespace
from dockercni.resolver import messages, wire
from dockercni.resolver.forward import Forwarder, Reply
from dockercni.resolver.listeners import Listeners
from dockercni.resolver.loop import READ, WRITE, Loop
from dockercni.resolver.messages import Alive, Complete, Hello, Leave, Listen, Names, Remove, Said, Serve, ToResolver
from dockercni.resolver.table import Table
from dockercni.resolver.upstream import HostServers, Upstream, of_container

LINGER: Final = 15.0  # seconds without a daemon; a service manager restarts one much sooner
_LISTEN_FDS: Final = 3  # descriptors that come with Listen
_END: Final = ""  # in place of a container's id, after the last one
_PAUSE: Final = 0.1  # seconds without new connections when no descriptor is left
_KEPT: Final = 100  # log events that wait for a daemon
_LONGEST: Final = 4096  # characters of a value in the log


class Resolver:
    """Serves the containers that one daemon after the other sends."""

    def __init__(self, door: Door, host: HostServers | None = None) -> None:
        self._door = door
        self._host = host or HostServers()
        self._loop = Loop()
        self._table = Table()
        self._forwarder = Forwarder(self._loop)
        self._listeners: dict[str, Listeners] = {}
        self._upstreams: dict[str, Upstream] = {}  # of containers with servers of their own
        self._unconfirmed: set[str] = set()  # containers that the present daemon did not send yet
        self._links: dict[int, socket.socket] = {}  # all connections; most become the daemon's
        self._link: socket.socket | None = None  # the daemon
        self._alone_since = time.monotonic()
        self._spoke = 0.0
        self._unsent: collections.deque[str] = collections.deque()  # containers still to be sent to the daemon
        self._said: collections.deque[Said] = collections.deque(maxlen=_KEPT)
        self._over = False
        self._loop.add(door.fileno(), self._accept)

    def run(self) -> None:
        """Serve until the daemon sends Leave, or until there is neither a daemon nor a container."""
        while not self._over:
            self._loop.turn(messages.ALIVE)
            if time.monotonic() - self._spoke >= messages.ALIVE:
                self._send(Alive())
            if self._link is None and not self._listeners:
                self._over = self._over or self._door.lost() or time.monotonic() - self._alone_since > LINGER

    def close(self) -> None:
        """Close all descriptors but the door's."""
        for listeners in self._listeners.values():
            listeners.close()
        for link in self._links.values():
            link.close()
        self._loop.close()

    # The daemon

    def _accept(self) -> None:
        try:
            link = self._door.accept()
        except OSError:  # no descriptor is left
            self._loop.pause(self._door.fileno(), _PAUSE)
            return
        if link:
            link.setblocking(False)
            links.widen(link)
            self._links[link.fileno()] = link
            self._loop.add(link.fileno(), lambda: self._ready(link))

    def _ready(self, link: socket.socket) -> None:
        if self._unsent and link is self._link:
            self._send_unsent(link)
        try:
            received = links.receive(link, messages.to_resolver)
        except BlockingIOError:
            return
        except (OSError, ValueError) as error:
            self._log("warning", "message to the resolver not understood", reason=str(error))
            received = None
        if received is None:
            self._drop(link)
        else:
            self._received(link, *received)

    def _received(self, link: socket.socket, message: ToResolver, fds: list[int]) -> None:
        if isinstance(message, Listen) and link is self._link and len(fds) == _LISTEN_FDS:
            self._listen(message.id, *fds)
            return
        for fd in fds:
            os.close(fd)
        if isinstance(message, Serve):
            self._take_daemon(link)
        elif link is self._link:
            self._carry_out(message)

    def _drop(self, link: socket.socket) -> None:
        self._loop.remove(link.fileno())
        del self._links[link.fileno()]
        link.close()
        if link is self._link:
            self._link = None
            self._alone_since = time.monotonic()

    def _take_daemon(self, link: socket.socket) -> None:
        """Take the sender of a Serve for the daemon from now on, and send it everything."""
        if self._link and self._link is not link:
            self._drop(self._link)
        self._link = link
        self._unconfirmed = {names.id for names in self._table.all()} | set(self._listeners)
        self._send(Hello(messages.PROTOCOL, __version__))
        while self._said and self._send(self._said[0]):
            self._said.popleft()
        self._unsent = collections.deque([*self._unconfirmed, _END])
        self._send_unsent(link)

    def _send_unsent(self, link: socket.socket) -> None:
        """Send the daemon the rest of the state, as fast as it reads."""
        while self._unsent and self._link is link:
            try:
                self._send_container(link, self._unsent[0])
            except BlockingIOError:
                self._loop.change(link.fileno(), READ | WRITE)
                return
            except OSError:  # it is gone; its last messages are still to be read
                return
            self._unsent.popleft()
        self._loop.change(link.fileno(), READ)

    def _send_container(self, link: socket.socket, container_id: str) -> None:
        if container_id == _END:
            links.send(link, Complete())
            return
        if names := self._table.get(container_id):
            links.send(link, names)
        if listeners := self._listeners.get(container_id):
            links.send(link, Listen(container_id), *listeners.fds)

    def _carry_out(self, message: ToResolver) -> None:
        match message:
            case Names():
                self._set_names(message)
            case Remove(container_id):
                self._remove(container_id)
            case Complete():
                for container_id in self._unconfirmed:
                    self._remove(container_id)
                self._unconfirmed = set()
            case Listen(container_id):
                self._log("warning", "container cannot ask for names", id=container_id, reason="no descriptor is left")
            case Leave():
                self._over = True

    def _set_names(self, names: Names) -> None:
        self._unconfirmed.discard(names.id)
        if self._table.get(names.id) == names:
            return
        try:
            self._table.set(names)
        except ValueError as error:
            self._log("warning", "container has no names", id=names.id, reason=str(error))
        self._choose_upstream(names)

    def _choose_upstream(self, names: Names) -> None:
        self._upstreams.pop(names.id, None)
        if listeners := self._listeners.get(names.id):
            own = of_container(names.servers, listeners.namespace)
            if own.servers:
                self._upstreams[names.id] = own

    def _listen(self, container_id: str, udp: int, tcp: int, namespace: int) -> None:
        self._unconfirmed.discard(container_id)
        made = Listeners(
            self._loop,
            udp,
            tcp,
            Namespace(namespace, container_id),
            lambda message, reply, tcp: self._answer(container_id, message, reply, tcp=tcp),
        )
        old = self._listeners.get(container_id)
        if old and old.same(made):
            made.close()  # a new daemon sends what is here already: questions under way must not be lost
            return
        if old:
            self._forwarder.abandon(container_id)
            old.close()
        self._listeners[container_id] = made
        if names := self._table.get(container_id):
            self._choose_upstream(names)

    def _remove(self, container_id: str) -> None:
        self._table.remove(container_id)
        self._upstreams.pop(container_id, None)
        self._forwarder.abandon(container_id)  # before its namespace is closed
        if listeners := self._listeners.pop(container_id, None):
            listeners.close()

    # The containers

    def _answer(self, container_id: str, message: bytes, reply: Reply, *, tcp: bool) -> None:
        """Answer a question, or forward it."""
        try:
            asked = wire.question(message)
            data = self._table.records(container_id, asked)
            if data is not None:
                reply(wire.answer(message, asked, data, tcp=tcp))
                return
        except wire.Malformed as error:
            reply(error.response)
            return
        except Exception:  # noqa: BLE001  a defect in one answer must not end the service for all
            self._log("error", "question not answered", id=container_id, reason=traceback.format_exc())
            reply(b"")
            return
        upstream = self._upstreams.get(container_id) or self._host.upstream()
        self._forwarder.ask(message, asked, container_id, upstream, reply, tcp=tcp)

    # The log

    def _log(self, level: str, event: str, **fields: str) -> None:
        said = Said(level, event, {key: value[-_LONGEST:] for key, value in fields.items()})
        if not self._send(said):
            self._said.append(said)

    def _send(self, message: Message, *fds: int) -> bool:
        """Send a message to the daemon; whether it was sent.

        A daemon that does not read is disconnected, and connects again if it can.
        """
        if self._link is None:
            return False
        try:
            links.send(self._link, message, *fds)
        except BlockingIOError:
            if not self._unsent:
                self._drop(self._link)
            return False
        except OSError:  # it is gone; its last messages are still to be read
            return False
        self._spoke = time.monotonic()
        return True


def main(fd: int, run_dir: str) -> None:
    """Serve on the listening socket `fd`, whose file is in `run_dir`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)  # it ends when nothing needs it any more
    os.chdir("/")
    descriptors.raise_limit()
    directory = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    door = Door(socket.socket(fileno=fd), directory, messages.SOCKET)
    Resolver(door).run()
    door.remove()
    os._exit(0)  # no cleanup: a daemon may wait to start the next one
