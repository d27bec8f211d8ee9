"""Threads that must live: restarted after an exception, and reported as down until then.

A thread that ends does so silently: its work is just not done any more. So every long-lived thread is started by
`start`. If even this module's own loop fails, the process ends, and the service manager restarts it; what is on disk is
consistent at every moment.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from dockercni.linux import threads

FIRST_PAUSE: Final = 0.1  # seconds
LONGEST_PAUSE: Final = 30.0  # seconds
HEALTHY: Final = 60.0  # seconds that a thread must live for its end to count as the first failure again
EXIT_CODE: Final = 70  # EX_SOFTWARE (sysexits(3))

log = structlog.get_logger()


class _State:
    """Why threads of this process are down, why those of the gate are, and whom to notify of changes."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.down: dict[str, str] = {}
        self.elsewhere: dict[str, str] = {}
        self.changed: Callable[[], None] = lambda: None


_state: Final = _State()


class _Supervised(threading.local):
    """The name under which `start` started the current thread; "" for other threads."""

    name = ""


_supervised: Final = _Supervised()


def start(name: str, work: Callable[[], None]) -> threading.Thread:
    """Run `work` in a thread until it returns; after an exception, run it again.

    What `work` was doing at the exception is lost, so it must begin by making up for a gap. Raises OSError (EAGAIN)
    where no thread can be started.
    """
    return threads.start(name, lambda: _live(name, work))


def down() -> dict[str, str]:
    """The threads that an exception ended and that are not restarted yet, each with the reason."""
    with _state.guard:
        return {**_state.elsewhere, **_state.down}


def elsewhere(threads: dict[str, str]) -> None:
    """Set the threads that are down in the gate, our other process; `down` includes them."""
    with _state.guard:
        _state.elsewhere = threads
    _state.changed()


def on_change(changed: Callable[[], None]) -> None:
    """Have `changed` called whenever the result of `down` changes; it must not block."""
    _state.changed = changed


def install() -> None:
    """Have the end of any thread of this process by an exception logged."""
    threading.excepthook = _last_net


def pause(failures: int) -> float:
    """Seconds until a thread is restarted after so many failures in a row."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16))


def _live(name: str, work: Callable[[], None]) -> None:
    _supervised.name = name
    failures = 0
    said = ""
    while True:
        began = time.monotonic()
        try:
            work()
        except BaseException as error:
            healthy = time.monotonic() - began > HEALTHY
            failures = 1 if healthy else failures + 1
            reason = f"{type(error).__name__}: {error}".removesuffix(": ")
            seconds = pause(failures)
            if reason != said or healthy:
                log.error("thread ended", thread=name, reason=reason, retry_in=seconds, exc_info=error)
            said = reason
        else:
            return
        _tell(name, reason)
        time.sleep(seconds)
        _tell(name, "")
        log.info("thread started anew", thread=name, reason=reason, failures=failures)


def _tell(name: str, reason: str) -> None:
    with _state.guard:
        _state.down.pop(name, None)
        if reason:
            _state.down[name] = reason
    _state.changed()


def _last_net(ended: threading.ExceptHookArgs) -> None:
    """Log that an exception ended a thread, and end the process if it is one that must live."""
    if not _supervised.name and ended.exc_type is SystemExit:
        return
    with contextlib.suppress(Exception):
        thread = ended.thread.name if ended.thread else ""
        log.critical("thread ended", thread=thread, exc_info=ended.exc_value, reason=str(ended.exc_type.__name__))
    if _supervised.name:
        os._exit(EXIT_CODE)
