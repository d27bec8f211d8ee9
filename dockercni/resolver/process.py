"""The resolver's own process: `main` is all that it does.

    a container asks 127.0.0.11 -> its socket here -> Table: the addresses of a container on one of its networks
                                                   -> Forwarder: the answer of a server, handed on as it is

The daemon makes the sockets, in the containers' namespaces, and says who is called what. While no daemon is connected
(it is restarted, upgraded, hangs, or was killed) questions are answered by what was said last, and the next daemon
hears all of it. Without a daemon for `LINGER` the process ends if it serves nobody.

Its own streams lead nowhere: whatever it has to say for the log goes to the daemon.
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
from dockercni.resolver.messages import Alive, Complete, Hello, Known, Leave, Listen, Remove, Said, Serve, ToResolver
from dockercni.resolver.table import Table
from dockercni.resolver.upstream import HostServers, Upstream, of_container

LINGER: Final = 15.0  # seconds without a daemon: a service manager has started a new one long before
_DESCRIPTORS: Final = 3  # beside Listen
_ALL_TOLD: Final = ""  # after the last container
_KEPT: Final = 100  # events for the log that wait for a daemon
_LONGEST: Final = 4096  # characters of a value for the log


class Resolver:
    """Serves one daemon after the other at its door, and all containers that they tell it of."""

    def __init__(self, door: Door, host: HostServers | None = None) -> None:
        self._door = door
        self._host = host or HostServers()
        self._loop = Loop()
        self._table = Table()
        self._forwarder = Forwarder(self._loop)
        self._listeners: dict[str, Listeners] = {}
        self._upstreams: dict[str, Upstream] = {}  # of containers that have servers of their own
        self._unnamed: set[str] = set()  # containers that the present daemon has not spoken of
        self._links: dict[int, socket.socket] = {}  # of whoever has come in
        self._link: socket.socket | None = None  # the daemon
        self._alone_since = time.monotonic()
        self._spoke = 0.0
        self._untold: collections.deque[str] = collections.deque()  # containers that the daemon is yet to hear of
        self._said: collections.deque[Said] = collections.deque(maxlen=_KEPT)
        self._over = False
        self._loop.add(door.fileno(), self._accept)

    def run(self) -> None:
        """Serve until nobody needs it any more, or the daemon sends it away."""
        while not self._over:
            self._loop.turn(messages.ALIVE)
            if time.monotonic() - self._spoke >= messages.ALIVE:
                self._send(Alive())
            if self._link is None and not self._listeners:
                self._over = self._over or self._door.lost() or time.monotonic() - self._alone_since > LINGER

    def close(self) -> None:
        """Close everything that was opened, or handed over."""
        for listeners in self._listeners.values():
            listeners.close()
        for link in self._links.values():
            link.close()
        self._loop.close()

    # the daemon

    def _accept(self) -> None:
        link = self._door.accept()
        if link:
            link.setblocking(False)
            links.widen(link)
            self._links[link.fileno()] = link
            self._loop.add(link.fileno(), lambda: self._ready(link))

    def _ready(self, link: socket.socket) -> None:
        if self._untold and link is self._link:
            self._tell(link)
        try:
            received = links.receive(link, messages.to_resolver)
        except BlockingIOError:
            return
        except (OSError, ValueError) as error:
            self._say("warning", "resolver did not understand the daemon", reason=str(error))
            received = None
        if received is None:
            self._drop(link)
        else:
            self._hear(link, *received)

    def _hear(self, link: socket.socket, message: ToResolver, fds: list[int]) -> None:
        if isinstance(message, Listen) and link is self._link and len(fds) == _DESCRIPTORS:
            self._listen(message.id, *fds)
            return
        for fd in fds:
            os.close(fd)
        if isinstance(message, Serve):
            self._meet(link)
        elif link is self._link:
            self._obey(message)

    def _drop(self, link: socket.socket) -> None:
        self._loop.remove(link.fileno())
        del self._links[link.fileno()]
        link.close()
        if link is self._link:
            self._link = None
            self._alone_since = time.monotonic()

    def _meet(self, link: socket.socket) -> None:
        """Take whoever said Serve for the daemon from now on, and tell it all that we know."""
        if self._link and self._link is not link:
            self._drop(self._link)
        self._link = link
        self._unnamed = {known.id for known in self._table.known()} | set(self._listeners)
        self._send(Hello(messages.PROTOCOL, __version__))
        while self._said and self._send(self._said[0]):
            self._said.popleft()
        self._untold = collections.deque([*self._unnamed, _ALL_TOLD])
        self._tell(link)

    def _tell(self, link: socket.socket) -> None:
        """Tell the daemon of all containers, as fast as it reads."""
        while self._untold and self._link is link:
            try:
                self._tell_of(link, self._untold[0])
            except BlockingIOError:
                self._loop.change(link.fileno(), READ | WRITE)
                return
            except OSError:  # it is gone; its last words are yet to be read
                return
            self._untold.popleft()
        self._loop.change(link.fileno(), READ)

    def _tell_of(self, link: socket.socket, container_id: str) -> None:
        if container_id == _ALL_TOLD:
            links.send(link, Complete())
            return
        if known := self._table.of(container_id):
            links.send(link, known)
        if listeners := self._listeners.get(container_id):
            links.send(link, Listen(container_id), *listeners.fds)

    def _obey(self, message: ToResolver) -> None:
        match message:
            case Known():
                self._know(message)
            case Remove(container_id):
                self._remove(container_id)
            case Complete():
                for container_id in self._unnamed:
                    self._remove(container_id)
                self._unnamed = set()
            case Listen(container_id):
                self._say("warning", "container cannot ask for names", id=container_id, reason="no descriptor is left")
            case Leave():
                self._over = True

    def _know(self, known: Known) -> None:
        self._unnamed.discard(known.id)
        if self._table.of(known.id) == known:
            return
        try:
            self._table.put(known)
        except ValueError as error:
            self._say("warning", "names not known", id=known.id, reason=str(error))
        self._choose_upstream(known)

    def _choose_upstream(self, known: Known) -> None:
        self._upstreams.pop(known.id, None)
        if listeners := self._listeners.get(known.id):
            own = of_container(known.servers, listeners.namespace)
            if own.servers:
                self._upstreams[known.id] = own

    def _listen(self, container_id: str, udp: int, tcp: int, namespace: int) -> None:
        self._unnamed.discard(container_id)
        made = Listeners(
            self._loop,
            udp,
            tcp,
            Namespace(namespace, container_id),
            lambda message, reply, tcp: self._serve(container_id, message, reply, tcp=tcp),
        )
        old = self._listeners.get(container_id)
        if old and old.same(made):  # a new daemon speaks of it: questions that are under way are to be answered
            made.close()
            return
        if old:
            old.close()
        self._listeners[container_id] = made
        if known := self._table.of(container_id):
            self._choose_upstream(known)

    def _remove(self, container_id: str) -> None:
        self._table.remove(container_id)
        self._upstreams.pop(container_id, None)
        if listeners := self._listeners.pop(container_id, None):
            listeners.close()

    # the containers

    def _serve(self, container_id: str, message: bytes, reply: Reply, *, tcp: bool) -> None:
        """Answer a question, now or later."""
        try:
            asked = wire.question(message)
            data = self._table.records(container_id, asked)
            if data is not None:
                reply(wire.answer(message, asked, data, tcp=tcp))
                return
        except wire.Malformed as error:
            reply(error.response)
            return
        except Exception:  # noqa: BLE001  one message must not end the names of everybody
            self._say("error", "question not answered", id=container_id, reason=traceback.format_exc())
            reply(b"")
            return
        upstream = self._upstreams.get(container_id) or self._host.upstream()
        self._forwarder.ask(message, asked, container_id, upstream, reply, tcp=tcp)

    # what it has to say

    def _say(self, level: str, event: str, **fields: str) -> None:
        said = Said(level, event, {key: value[-_LONGEST:] for key, value in fields.items()})
        if not self._send(said):
            self._said.append(said)

    def _send(self, message: Message, *fds: int) -> bool:
        """Send a message to the daemon, and return whether it was sent.

        A daemon that does not read any more is dropped: it connects again if it can.
        """
        if self._link is None:
            return False
        try:
            links.send(self._link, message, *fds)
        except BlockingIOError:
            if not self._untold:
                self._drop(self._link)
            return False
        except OSError:  # it is gone; its last words are yet to be read
            return False
        self._spoke = time.monotonic()
        return True


def main(fd: int, run_dir: str) -> None:
    """Serve on the listening socket `fd`, which is to be found in `run_dir`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)  # it ends when nobody needs it any more
    os.chdir("/")
    descriptors.raise_limit()
    directory = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    door = Door(socket.socket(fileno=fd), directory, messages.SOCKET)
    Resolver(door).run()
    door.remove()
    os._exit(0)  # at once: whoever sent it away waits for its end
