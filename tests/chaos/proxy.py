"""A proxy before the engine's socket: it can cut its streams, swallow events, and say that there are no containers."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from tests.hosts import Host

PATH = "/run/private/proxy.sock"
URL = f"unix://{PATH}"
ENGINE = "/run/docker.sock"
_LIST = re.compile(rb"GET \S*/containers/json")
_ONE = re.compile(rb"GET \S*/containers/[^/]+/json")


class Proxy:
    """Serves until closed, in threads of the test's own process.

    `silent`: events of the streams that stand are swallowed. `forgetful`: lists of containers are empty, and each of
    them is unknown. `answering`: while it is not set, whoever asks waits, as for an engine that is starting. `asked`
    counts the requests by their first line.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self.silent = False
        self.forgetful = False
        self.answering = threading.Event()
        self.answering.set()
        self.asked: list[str] = []
        self.replacing: list[tuple[bytes, bytes]] = []
        self._open: set[socket.socket] = set()
        self._streams: set[socket.socket] = set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(host.path(PATH)))
        self._listener.listen(64)
        threading.Thread(target=self._serve, name="proxy", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def replace_once(self, old: bytes, new: bytes) -> None:
        """Put `new`, which may not be longer, in the place of `old` in the next answer that has it."""
        assert len(new) <= len(old)
        self.replacing.append((old, new.ljust(len(old))))

    def tell(self, events: Sequence[bytes]) -> None:
        """Have events (JSON) that never happened arrive on every stream that stands."""
        for client in list(self._streams):
            for event in events:
                client.sendall(b"%x\r\n%s\n\r\n" % (len(event) + 1, event))

    def tear(self) -> None:
        """End every stream that stands in the middle of an event."""
        for client in list(self._streams):
            with contextlib.suppress(OSError):
                client.sendall(b'200\r\n{"Type":"container","Action":"sta')
            _close(client)

    def garble(self) -> None:
        """Have lines that are no events arrive on every stream that stands."""
        for client in list(self._streams):
            for line in (b'{"Type": broken\n', b"\xff\xfe\x00\n", b"[1]\n", b'{"Type":"container","Action":7}\n'):
                with contextlib.suppress(OSError):
                    client.sendall(b"%x\r\n%s\r\n" % (len(line), line))

    def cut(self) -> int:
        """End all connections at once; returns how many there were."""
        victims = list(self._open)
        for end in victims:
            _close(end)
        return len(victims) // 2

    def close(self) -> None:
        """Take no more connections, and end those there are."""
        _close(self._listener)
        self._listener.close()
        self.cut()
        self._host.path(PATH).unlink(missing_ok=True)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(client,), name="proxied", daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        engine = socket.socket(socket.AF_UNIX)
        with client, engine, contextlib.suppress(OSError):
            engine.connect(str(self._host.path(ENGINE)))
            self._open |= {client, engine}
            asking = _Asking()
            back = threading.Thread(target=self._answers, args=(engine, client, asking), name="answers", daemon=True)
            back.start()
            self._questions(client, engine, asking)
            _close(engine)
            back.join()
        self._open -= {client, engine}
        self._streams.discard(client)

    def _questions(self, client: socket.socket, engine: socket.socket, asking: _Asking) -> None:
        """Pass requests on; all of them are GETs without a body."""
        pending = b""
        with contextlib.suppress(OSError):
            while part := client.recv(65536):
                pending += part
                self.answering.wait()
                while b"\r\n\r\n" in pending:
                    request, _, pending = pending.partition(b"\r\n\r\n")
                    self.asked.append(request.split(b"\r\n")[0].decode())
                    if b"/events" in request.split(b"\r\n")[0]:
                        asking.events = True
                        self._streams.add(client)
                    if faked := self._faked(request):
                        client.sendall(faked)
                    else:
                        engine.sendall(request + b"\r\n\r\n")

    def _answers(self, engine: socket.socket, client: socket.socket, asking: _Asking) -> None:
        with contextlib.suppress(OSError):
            while part := engine.recv(65536):
                for old, new in [pair for pair in self.replacing if pair[0] in part]:
                    part = part.replace(old, new, 1)
                    self.replacing.remove((old, new))
                if not (asking.events and self.silent):
                    client.sendall(part)
        _close(client)

    def _faked(self, request: bytes) -> bytes:
        if self.forgetful and _LIST.match(request):
            return _answer("200 OK", b"[]\n")
        if self.forgetful and _ONE.match(request):
            return _answer("404 Not Found", b'{"message":"No such container"}\n')
        return b""


class _Asking:
    """What the client of one connection asked for last."""

    events = False


def _answer(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
