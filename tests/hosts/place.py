"""A place: a network namespace that programs can be run in, and that can ask and answer over TCP and UDP."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from tests.hosts import commands
from tests.hosts.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NETCAT = (sys.executable, "-I", "-S", str(Path(__file__).with_name("netcat.py")))


class NoAnswer(Exception):
    """A request got no answer; the text says whether it was refused, unreachable or timed out."""


def peer_of(reply: bytes) -> str:
    """The address that a server of these tests saw its client under."""
    found = re.search(rb"peer=(\S+)", reply)
    assert found, reply
    return found[1].decode()


class Place:
    """Programs enter by `entry` (nsenter and its options); what runs longer writes its log into `logs`."""

    wait_until = staticmethod(wait_until)

    def __init__(self, entry: Sequence[str], env: Mapping[str, str], logs: Path) -> None:
        self.entry = tuple(entry)
        self.env = dict(env)
        self.logs = logs
        self.background: list[commands.Background] = []
        self._numbers = count(1)

    def run(
        self,
        *argv: str | os.PathLike[str],
        check: bool = True,
        input: str | None = None,  # noqa: A002 -- the name that subprocess.run has for it
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program here to its end."""
        words = [os.fspath(word) for word in argv]
        environment = self.env | dict(env or {})
        return commands.run(words, self.entry, environment, check=check, stdin=input, timeout=timeout)

    def popen(
        self, *argv: str | os.PathLike[str], env: Mapping[str, str] | None = None, log: str | None = None
    ) -> commands.Background:
        """Start a program here that runs on; it ends with the host at the latest."""
        words = [os.fspath(word) for word in argv]
        path = self.logs / (log or f"{Path(words[0]).name}-{id(self):x}-{next(self._numbers)}.log")
        started = commands.Background(words, self.entry, self.env | dict(env or {}), path)
        self.background.append(started)
        return started

    def tcp_request(self, host: str, port: int, timeout: float = 3) -> bytes:
        """The body of the answer to `GET /` over TCP from here, or NoAnswer."""
        return self._ask("tcp", host, port, timeout)

    def udp_request(self, host: str, port: int, timeout: float = 3) -> bytes:
        """The answer to a datagram from here (sent again until the time is over), or NoAnswer."""
        return self._ask("udp", host, port, timeout)

    def survey(self, targets: Sequence[tuple[str, str, int]], timeout: float = 3) -> list[str]:
        """The address that each of (protocol, host, port) sees this place under; "" for those without an answer."""
        words = [f"{protocol},{host},{port}" for protocol, host, port in targets]
        lines = self.run(*NETCAT, "survey", *words, "--timeout", str(timeout)).stdout.split("\n")[: len(words)]
        return [peer_of(line.encode()) if line else "" for line in lines]

    def serve_tcp(self, port: int) -> commands.Background:
        """A TCP server here that tells each client its address as seen (see `peer_of`)."""
        return self._serve("tcp", port)

    def serve_udp(self, port: int) -> commands.Background:
        """A UDP server here that tells each client its address as seen (see `peer_of`)."""
        return self._serve("udp", port)

    def _ask(self, protocol: str, host: str, port: int, timeout: float) -> bytes:
        done = self.run(*NETCAT, "ask", protocol, host, str(port), "--timeout", str(timeout), check=False)
        if done.returncode:
            raise NoAnswer(f"{protocol} {host}:{port}: {done.stderr.strip()}")
        return done.stdout.encode()

    def _serve(self, protocol: str, port: int) -> commands.Background:
        server = self.popen(*NETCAT, "serve", protocol, str(port))
        wait_until(
            lambda: "serving" in server.text() or not server.running, 10, f"{protocol} server on {port}", server.text
        )
        assert server.running, server.text()
        return server
