"""The daemon's heartbeat: a small file that says that it lives, what it did last, and what fails.

It is written after every progress and at least every BEAT seconds, by a thread that asks the lanes first: a daemon
that is stuck stops beating. The service manager's watchdog and status line get the same beat.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import structlog

from dockercni.cni.files import private_directory, replace_file
from dockercni.observe import notify
from dockercni.observe.pulse import BEAT, FILE, Failing, Pulse
from dockercni.render import escape

_MOST: Final = 2000  # characters of a reason
_PAUSE: Final = 0.1  # seconds at least between two writes: a burst of looks is one progress

log = structlog.get_logger()


class Heartbeat:
    """Writes the file until it is closed. Thread-safe. `busy` names what is being looked at."""

    def __init__(self, run_dir: Path, busy: Callable[[], tuple[str, ...]]) -> None:
        self._path = run_dir / FILE
        self._busy = busy
        self._guard = threading.Lock()
        self._failing: dict[str, Failing] = {}
        self._off: dict[str, str] = {}
        self._pulse = Pulse(os.getpid(), _now(), time.monotonic())
        self._progress = threading.Event()
        self._closed = threading.Event()
        self._complained = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Write at once, and go on."""
        self._progress.set()
        self._thread.start()

    def close(self) -> None:
        """Stop, and take the file away."""
        self._closed.set()
        self._progress.set()
        self._thread.join(BEAT)
        self._path.unlink(missing_ok=True)

    def connected(self) -> None:
        """An engine answers."""
        self._change(connected=_now(), lost="")

    def lost(self, reason: str) -> None:
        """No engine answers any more."""
        self._change(connected="", lost=_text(reason))

    def looked_at_all(self) -> None:
        """Every container was asked for."""
        self._change(looked_at_all=_now())

    def off(self, what: str, reason: str) -> None:
        """Something cannot work here, and why; it works if `reason` is empty."""
        with self._guard:
            self._off.pop(what, None)
            if reason:
                self._off[what] = _text(reason)
        self._progress.set()

    def late(self) -> None:
        """An entrypoint began without the network that it was to be held for."""
        with self._guard:
            self._pulse = msgspec.structs.replace(self._pulse, late=self._pulse.late + 1)
        self._progress.set()

    def looked(self, key: str, container: str, reason: str) -> None:
        """A look has ended; `reason` says what fails, or is empty."""
        with self._guard:
            if reason:
                self._failing[key] = Failing(_text(container), _text(reason))
            else:
                self._failing.pop(key, None)
        self._progress.set()

    def _change(self, **changes: str) -> None:
        with self._guard:
            self._pulse = msgspec.structs.replace(self._pulse, **changes)
        self._progress.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._progress.clear()
            self._write()
            self._closed.wait(_PAUSE)
            self._progress.wait(BEAT)

    def _write(self) -> None:
        busy = self._busy()
        with self._guard:
            changes = {"beat": time.monotonic(), "busy": busy, "failing": dict(self._failing), "off": dict(self._off)}
            pulse = msgspec.structs.replace(self._pulse, **changes)
        notify.send(f"WATCHDOG=1\nSTATUS={escape(pulse.sentence)}")
        try:
            private_directory(self._path.parent)
            replace_file(self._path, msgspec.json.encode(pulse), scratch=self._path.parent, prefix=f".{FILE}-")
            self._complained = False
        except OSError as error:  # a full disk must not end the daemon, nor fill the log
            if not self._complained:
                log.warning("heartbeat not written", path=str(self._path), reason=error.strerror)
            self._complained = True


def _text(words: str) -> str:
    """Words that can be written, and not endless: containers and plugins have a say in them."""
    whole = words.encode("utf-8", "backslashreplace").decode()
    return whole if len(whole) <= _MOST else f"{whole[:_MOST]}..."


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
