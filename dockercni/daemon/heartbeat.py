"""The daemon's heartbeat: a small file that says that it lives, what it did last, and what fails.

It is written after every progress and at least every BEAT seconds, by a thread that asks the work queue first: a
daemon that is stuck stops beating. The service manager's watchdog and status line get the same beat, as long as every
thread that must live does.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog

from dockercni import supervision
from dockercni.daemon import notify
from dockercni.files import private_directory, replace_file
from dockercni.render import escape
from dockercni.status_file import BEAT, FILE, DaemonStatus, Failing, bounded, now

WATCHDOG: Final = "WATCHDOG=1\n"
_PAUSE: Final = 0.1  # seconds at least between two writes: a burst of jobs is one progress

log = structlog.get_logger()


class Heartbeat:
    """Writes the file until it is closed. Thread-safe.

    `busy` names the jobs under way, `failing` the containers that do not have what they should have.
    """

    def __init__(
        self,
        run_dir: Path,
        busy: Callable[[], tuple[str, ...]],
        failing: Callable[[], Mapping[str, Failing]] = dict,
    ) -> None:
        self._path = run_dir / FILE
        self._busy = busy
        self._guard = threading.Lock()
        self._failing = failing
        self._off: dict[str, str] = {}
        self._status = DaemonStatus(os.getpid(), now(), time.monotonic())
        self._progress = threading.Event()
        self._closed = threading.Event()
        self._complained = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Write at once, and go on."""
        self._progress.set()
        supervision.on_change(self._progress.set)
        self._thread = supervision.start("heartbeat", self._run)

    def close(self) -> None:
        """Stop, and take the file away."""
        self._closed.set()
        self._progress.set()
        if self._thread:
            self._thread.join(BEAT)
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def connected(self) -> None:
        """An engine answers."""
        self._change(connected=now(), lost="")

    def lost(self, reason: str) -> None:
        """No engine answers any more."""
        self._change(connected="", lost=bounded(reason))

    def reconciling_all(self) -> None:
        """Every container was added to the work queue."""
        self._change(reconciled_all=now())

    def off(self, what: str, reason: str) -> None:
        """Something cannot work here, and why; it works if `reason` is empty."""
        with self._guard:
            self._off.pop(what, None)
            if reason:
                self._off[what] = bounded(reason)
        self._progress.set()

    def late(self) -> None:
        """An entrypoint began without the network that it was to be held for."""
        with self._guard:
            self._status = msgspec.structs.replace(self._status, late=self._status.late + 1)
        self._progress.set()

    def progress(self) -> None:
        """A job has ended."""
        self._progress.set()

    def _change(self, **changes: str) -> None:
        with self._guard:
            self._status = msgspec.structs.replace(self._status, **changes)
        self._progress.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._progress.clear()
            self._write()
            self._closed.wait(_PAUSE)
            self._progress.wait(BEAT)

    def _write(self) -> None:
        down = supervision.down()
        busy = () if down else self._busy()  # the queue's thread may be the one that is down, and would not answer
        failing = dict(self._failing())
        with self._guard:
            lists = {"failing": failing, "off": dict(self._off), "down": down}
            status = msgspec.structs.replace(self._status, beat=time.monotonic(), busy=busy, **lists)
        notify.send(f"{'' if down else WATCHDOG}STATUS={escape(status.sentence)}")
        try:
            private_directory(self._path.parent)
            replace_file(self._path, msgspec.json.encode(status), scratch=self._path.parent, prefix=f".{FILE}-")
            self._complained = False
        except OSError as error:  # a full disk must not end the daemon, nor fill the log
            if not self._complained:
                log.warning("heartbeat not written", path=str(self._path), reason=error.strerror)
            self._complained = True
            with contextlib.suppress(OSError):
                self._overwrite(status)

    def _overwrite(self, status: DaemonStatus) -> None:
        """On a full disk, overwrite the last beat in place with as much as fits into it. Raises OSError."""
        fd = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            file = os.fstat(fd)
            room = file.st_size if stat.S_ISREG(file.st_mode) else 0
            data = msgspec.json.encode(status)
            if len(data) > room:
                data = msgspec.json.encode(msgspec.structs.replace(status, busy=(), failing={}, off={}))
            if len(data) <= room:
                os.pwrite(fd, data.ljust(room), 0)
        finally:
            os.close(fd)
