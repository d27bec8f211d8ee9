"""Programs run in a namespace: to their end, or in the background with a log file."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class CommandError(Exception):
    """A program failed or took too long: what it was, how it ended, and all that it said."""

    def __init__(self, argv: Sequence[str], ending: str, stdout: str, stderr: str) -> None:
        super().__init__(f"{shlex.join(argv)}: {ending}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")


def run(
    argv: Sequence[str],
    entry: Sequence[str],
    env: Mapping[str, str],
    *,
    check: bool,
    stdin: str | None,
    timeout: float,
) -> subprocess.CompletedProcess[str]:
    """Run argv behind the command that enters the namespace, both outputs captured."""
    try:
        done = subprocess.run(
            [*entry, *argv],
            check=False,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            input="" if stdin is None else stdin,
            timeout=timeout,
            env=dict(env),
        )
    except subprocess.TimeoutExpired as late:
        raise CommandError(argv, f"no end after {timeout:g} s", _text(late.stdout), _text(late.stderr)) from None
    if check and done.returncode:
        raise CommandError(argv, f"exit code {done.returncode}", done.stdout, done.stderr)
    return done


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


class Background:
    """A long-lived program: its process, and the file that both its outputs go to."""

    def __init__(self, argv: Sequence[str], entry: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self.argv = list(argv)
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*entry, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(env),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The program's own id: nsenter and unshare execute in place."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def text(self) -> str:
        """All that it has said so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self, timeout: float = 30) -> int:
        """Ask it to end (SIGTERM), wait, and return its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise CommandError(self.argv, f"SIGTERM ignored for {timeout:g} s", self.text(), "") from None

    def kill(self) -> int:
        """End it by SIGKILL."""
        self.process.kill()
        return self.process.wait(10)
