"""Whatever becomes of the event stream, the watch connects again, looks at all, and goes on to hear events."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest

from dockercni.docker import client as module
from dockercni.docker import events as watching
from dockercni.docker.client import Client
from dockercni.docker.events import Watch
from tests.hosts.waiting import wait_until
from tests.unit.docker.fake import INFO, VERSION, raw_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from socketserver import StreamRequestHandler

EVENT = b'{"Action":"start","Actor":{"ID":"web"},"timeNano":1700000000000000001}\n'
HEAD = b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


BREAKS: dict[str, bytes] = {
    "in a line": chunk(EVENT) + chunk(EVENT[:20]),
    "in a chunk": chunk(EVENT) + b"40\r\n" + EVENT[:20],
    "in a chunk's length": chunk(EVENT) + b"4",
    "no number in a chunk's length": chunk(EVENT) + b"zz\r\n" + EVENT,
    "at its end": chunk(EVENT) + b"0\r\n\r\n",
    "no JSON": chunk(EVENT) + chunk(b"what is this?\n"),
    "other JSON": chunk(EVENT) + chunk(b"[]\n"),
    "no UTF-8": chunk(EVENT) + chunk(EVENT.replace(b"web", b"\xff\xfe")),
    "NUL bytes": chunk(EVENT) + chunk(bytes(64) + b"\n"),
    "a deep line": chunk(EVENT) + chunk(b"[" * 100_000 + b"\n"),
    "an endless line": chunk(EVENT) + chunk(b"x" * 70_000),
    "no answer": b"",
    "half a head": HEAD[:30],
    "no HTTP": b"\x00\x01\x02\r\n\r\n",
}


@pytest.mark.parametrize("way", BREAKS)
def test_the_stream_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """It breaks twice in the same way; the third subscription is sound, and its event is heard."""
    monkeypatch.setattr(watching, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(module, "_LONGEST_LINE", 1 << 16)
    subscriptions: list[int] = []
    over = threading.Event()

    def serve(handler: StreamRequestHandler) -> None:
        while (request := handler.rfile.readline()) and not over.is_set():
            while handler.rfile.readline().strip():
                pass
            if b"/events" not in request:
                body = json.dumps(VERSION if b"/version" in request else INFO).encode()
                handler.wfile.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                continue
            subscriptions.append(1)
            if len(subscriptions) <= 2:
                answer = BREAKS[way]
                handler.wfile.write(answer if not answer.startswith(b"%x" % len(EVENT)) else CHUNKED + answer)
                return
            handler.wfile.write(CHUNKED + chunk(EVENT.replace(b"web", b"last")))
            over.wait(20)
            return

    heard: list[str] = []
    _follow(tmp_path / "socket", serve, heard)
    try:
        wait_until(lambda: "last" in heard, 20, "the sound stream", lambda: (heard, len(subscriptions)))
    finally:
        over.set()
    assert heard.count("all") >= 1
    assert heard[-1] == "last"


def _follow(path: Path, serve: Callable[[StreamRequestHandler], None], heard: list[str]) -> None:
    stop = threading.Event()

    def look(container_id: str, _: str) -> None:
        heard.append(container_id)
        if container_id == "last":
            stop.set()

    def run() -> None:
        with raw_server(path, serve) as url:
            Watch(Client(url), connected=lambda: heard.append("all"), changed=look, stop=stop).run()

    threading.Thread(target=run, daemon=True).start()
