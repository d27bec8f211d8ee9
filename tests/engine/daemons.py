"""The daemon and the commands of dockercni, run in a private host as a user would, and known by their output only."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.hosts import wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence

    from tests.hosts import Host
    from tests.hosts.commands import Background

    Start = Callable[..., "Daemon"]  # the fixture `daemon`
    Cli = Callable[..., subprocess.CompletedProcess[str]]  # the fixture `cli`


class Daemon:
    """A running daemon and its log, which is JSON, one event per line."""

    def __init__(self, program: Background) -> None:
        self.program = program

    def log(self) -> list[dict[str, Any]]:
        """The events so far; a line that is no event (a traceback, say) becomes the `event` of one."""
        return [_event(line) for line in self.program.text().splitlines() if line]

    def wait_event(self, name: str, *, timeout: float = 20, after: int = 0, **fields: object) -> dict[str, Any]:
        """The first event of that name with these fields, not among the first `after` ones, as soon as it is there."""

        def found() -> dict[str, Any] | None:
            ended = not self.program.running
            for event in self.log()[after:]:
                if event.get("event") == name and all(event.get(key) == value for key, value in fields.items()):
                    return event
            assert not ended, f"the daemon ended ({self.program.process.returncode}):\n{self.program.text()}"
            return None

        event = wait_until(found, timeout, f"event {name} {fields or ''}", self.program.text)
        assert event
        return event

    def stop(self, timeout: float = 30) -> int:
        """SIGTERM, and wait; returns the exit code."""
        return self.program.stop(timeout)

    def kill(self) -> None:
        """SIGKILL."""
        self.program.kill()


def start_daemon(host: Host, *flags: str, through: Sequence[str] = ()) -> Daemon:
    """Start it, without waiting for anything."""
    env = environment() | {"DOCKERCNI_LOG_FORMAT": "json"}
    return Daemon(host.popen(*through, sys.executable, "-m", "dockercni", "daemon", *flags, env=env))


def run_cli(
    host: Host, *arguments: str, check: bool, timeout: float, through: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return host.run(
        *through, sys.executable, "-m", "dockercni", *arguments, check=check, timeout=timeout, env=environment()
    )


def family(pid: int) -> list[int]:
    """The process and all that descend from it, whichever of its threads started them."""
    found = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            found += family(int(child))
    return found


def environment() -> dict[str, str]:
    """The package that these tests would import is the one that runs, whether it is installed or just here.

    With DOCKERCNI_BACKEND in the environment of the tests, all of them run with that backend.
    """
    package = importlib.util.find_spec("dockercni")
    assert package, "dockercni is not installed"
    assert package.origin
    backend = {name: value for name, value in os.environ.items() if name == "DOCKERCNI_BACKEND"}
    return {"PYTHONPATH": str(Path(package.origin).parents[1]), "PYTHONUNBUFFERED": "1", **backend}


def _event(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    return event if isinstance(event, dict) else {"event": line}
