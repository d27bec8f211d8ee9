"""A server on a unix socket that passes for an engine, or for something else."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

INFO = {"ID": "ENGINE", "ServerVersion": "20.10.24", "DockerRootDir": "/var/lib/docker", "SecurityOptions": []}
VERSION = {"ApiVersion": "1.41", "Version": "20.10.24"}
Answer = tuple[int, bytes] | object  # a status and a raw body, or a JSON value
SILENCE = object()
"""The answer that begins, and goes on without a word until the client leaves: events where nothing happens."""


@contextmanager
def raw_server(path: Path, talk: Callable[[socketserver.StreamRequestHandler], None]) -> Iterator[str]:
    """Whatever `talk` does with a connection; yields the URL."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            talk(self)

    with _serving(path, Handler):
        yield f"unix://{path}"


@contextmanager
def fake_engine(path: Path, answers: dict[str, Answer], *, headers: bool = True) -> Iterator[str]:
    """Answers by path (without the version in front of it), 404 for every other; yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = self.path.partition("?")[0]
            known = asked if asked in answers else "/" + asked.split("/", 2)[-1]
            answer = answers.get(known, (404, b'{"message":"no such thing"}'))
            if answer is SILENCE:
                self.send_response(200)
                self.end_headers()
                self.rfile.read(1)
                self.close_connection = True
                return
            status, body = answer if isinstance(answer, tuple) else (200, json.dumps(answer).encode())
            self.send_response(status)
            if headers:
                self.send_header("Api-Version", "1.41")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "unix"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with _serving(path, Handler):
        yield f"unix://{path}"


@contextmanager
def _serving(path: Path, handler: type[socketserver.BaseRequestHandler]) -> Iterator[None]:
    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True
        request_queue_size = 1024

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that went away is none."""

    with Server(str(path), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
