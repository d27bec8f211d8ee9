"""The daemon's work queue: serial per key, parallel across keys.

A key is a container id, or a name for work that concerns no single container. Reasons that arrive while a key is being
worked on add up to one more run: a run compares states, so the number of events does not matter.
"""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from dockercni import supervision
from dockercni.errors import Retry
from dockercni.linux import threads

FIRST_RETRY: Final = 1.0  # seconds
LONGEST_RETRY: Final = 300.0  # seconds
_FIRST_RETRY_SOON: Final = 0.1  # seconds, the first pause for what is missing only for a moment
_LONGEST: Final = {Retry.SOON: 1.0, Retry.OFTEN: 10.0, Retry.LATER: LONGEST_RETRY}
_MAX_SOON: Final = 60  # failures in a row: a shortage that lasts a minute is not momentary
SLOW: Final = 1.0  # seconds after which a run counts as waiting for something, and gives its worker to the next one
MAX_RUNNING: Final = 256  # runs at once, slow and urgent ones included
REFUSED_PAUSE: Final = 0.1  # seconds until the next try after the kernel refused a thread

log = structlog.get_logger()


class WorkQueue:
    """Runs `work(key, reason)` for the keys that were added, each in its own thread, `workers` at a time.

    `work` returns when the key should be tried again; the delay doubles from try to try. A slow run (a plugin that
    hangs) gives its worker to the next key, so it delays nobody. `ended` is called after each run, when the next try
    has been scheduled. Thread-safe.
    """

    def __init__(
        self, work: Callable[[str, str], Retry], workers: int, ended: Callable[[], None] = lambda: None
    ) -> None:
        self._work = work
        self._ended = ended
        self._workers = workers
        self._changed = threading.Condition()
        self._ready: deque[str] = deque()
        self._reasons: dict[str, str] = {}  # of the keys that wait in _ready, or for their present run to end
        self._urgent: set[str] = set()
        self._busy: dict[str, float] = {}  # since when
        self._failures: dict[str, int] = {}
        self._later: list[tuple[float, str]] = []  # a heap; an item that _due does not have as well is void
        self._due: dict[str, float] = {}
        self._closing = False
        self._turns = 0  # of the dispatcher
        self._refused: float | None = None  # when the kernel last refused a thread, if it did
        supervision.start("queue", self._serve)

    def add(self, key: str, reason: str, *, urgent: bool = False) -> None:
        """Have `key` worked on soon, before all others that wait if it is urgent. Never blocks."""
        with self._changed:
            if not self._closing:
                self._enqueue(key, reason, urgent=urgent)
                self._changed.notify_all()

    def idle(self) -> bool:
        """Whether nothing runs or waits; retries that are due later do not count."""
        with self._changed:
            return not self._reasons and not self._busy

    def busy(self) -> tuple[str, ...]:
        """The keys that are being worked on.

        Waits for a turn of the dispatcher first: the heartbeat asks here, and must stop if the dispatcher is stuck.
        """
        with self._changed:
            turns = self._turns
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._turns != turns or self._closing)
            return tuple(sorted(self._busy))

    def due(self) -> dict[str, float]:
        """When each failed key is tried again, by the monotonic clock."""
        with self._changed:
            return dict(self._due)

    def drain(self, seconds: float) -> list[str]:
        """Take no new work, wait for the runs under way, and return the keys that do not end in time."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._closing = True
            self._ready.clear()
            self._reasons.clear()
            self._urgent.clear()
            self._due.clear()
            self._changed.notify_all()
            while self._busy and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            return sorted(self._busy)

    def _enqueue(self, key: str, reason: str, *, urgent: bool = False) -> None:
        if key not in self._busy:
            if urgent and key in self._reasons:
                self._ready.remove(key)  # it waits already, but not in front
            if urgent or key not in self._reasons:
                (self._ready.appendleft if urgent else self._ready.append)(key)
        self._reasons[key] = reason
        if urgent:
            self._urgent.add(key)

    def _may_start(self, now: float) -> bool:
        if not self._ready or len(self._busy) >= MAX_RUNNING or self._refuses(now):
            return False
        fast = sum(now - since < SLOW for since in self._busy.values())
        return fast < self._workers or self._ready[0] in self._urgent

    def _serve(self) -> None:
        try:
            self._dispatch()
        except BaseException:
            with self._changed:  # release those who wait in `busy` for a turn that will not come
                self._turns += 1
                self._changed.notify_all()
            raise

    def _refuses(self, now: float) -> bool:
        return self._refused is not None and now < self._refused + REFUSED_PAUSE

    def _dispatch(self) -> None:
        with self._changed:
            while not self._closing:
                self._turns += 1
                self._changed.notify_all()
                now = time.monotonic()
                while self._later and self._later[0][0] <= now:
                    due, key = heapq.heappop(self._later)
                    if self._due.get(key) == due:
                        del self._due[key]
                        self._enqueue(key, "retry")
                if self._may_start(now) and self._start(self._ready[0], now):
                    continue
                moments = [self._later[0][0]] if self._later else []
                if self._refused is not None:
                    moments.append(self._refused + REFUSED_PAUSE)
                if self._ready and self._busy:
                    moments.append(
                        min((since for since in self._busy.values() if now - since < SLOW), default=now) + SLOW
                    )
                self._changed.wait(max(0.0, min(moments) - now) if moments else None)

    def _start(self, key: str, now: float) -> bool:
        """Start a run for `key`, the first one that is ready; False if the kernel refuses a thread now.

        State changes only once the thread exists, so a refusal loses nothing. The new thread cannot end before it
        counts as busy: for that it needs the lock, which is held here.
        """
        try:
            threads.start(f"work-{key[:12]}", partial(self._run, key, self._reasons[key]))
        except OSError as error:
            if self._refused is None:
                log.warning("work waits", reason=error.strerror)
            self._refused = now
            return False
        if self._refused is not None:
            log.info("work goes on")
        self._refused = None
        self._ready.popleft()
        self._busy[key] = now
        self._urgent.discard(key)
        del self._reasons[key]
        return True

    def _run(self, key: str, reason: str) -> None:
        retry = Retry.LATER
        try:
            retry = self._work(key, reason)
        finally:
            with self._changed:
                self._busy.pop(key, None)
                self._due.pop(key, None)
                if retry is Retry.NEVER:
                    self._failures.pop(key, None)
                elif not self._closing:
                    failures = self._failures[key] = self._failures.get(key, 0) + 1
                    self._due[key] = time.monotonic() + retry_delay(failures, retry)
                    heapq.heappush(self._later, (self._due[key], key))
                if key in self._reasons:
                    (self._ready.appendleft if key in self._urgent else self._ready.append)(key)
                self._changed.notify_all()
            self._ended()


def retry_delay(failures: int, retry: Retry) -> float:
    """Seconds to wait after so many failures in a row: doubling, with jitter."""
    if retry is Retry.SOON and failures > _MAX_SOON:
        retry = Retry.LATER
    first = _FIRST_RETRY_SOON if retry is Retry.SOON else FIRST_RETRY
    return min(_LONGEST[retry], first * 2.0 ** min(failures - 1, 12)) * random.uniform(0.5, 1.0)  # noqa: S311  jitter
