"""Serial per container, parallel across containers.

A lane exists while its container has work. Hints that arrive while it is looked at add up to one more look: a look
compares states, so it does not matter how many events asked for it.
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
_SOON: Final = 0.1  # seconds, the first pause for what is missing only for a moment
_LONGEST: Final = {Retry.SOON: 1.0, Retry.OFTEN: 10.0, Retry.LATER: LONGEST_RETRY}
_MOMENT: Final = 60  # failures in a row: what is missing for that long is not missing for a moment
SLOW: Final = 1.0  # seconds after which a look no longer counts as work, but as waiting for something
MOST: Final = 256  # looks at once, slow and urgent ones included
REFUSED_PAUSE: Final = 0.1  # seconds until a look is tried again for which there was no thread

log = structlog.get_logger()


class WorkQueue:
    """Runs `look(key, hint)` for the keys asked for, each in a thread of its own, `workers` at a time.

    `look` returns when it makes sense to look at the key again; that is done for as long as it says so, with a delay
    that doubles from try to try. A look that takes long (a plugin that hangs) gives its place to the next one, so that
    it delays nobody. `ended` is called when a look has ended and the next try is due.
    """

    def __init__(
        self, look: Callable[[str, str], Retry], workers: int, ended: Callable[[], None] = lambda: None
    ) -> None:
        self._look = look
        self._ended = ended
        self._workers = workers
        self._changed = threading.Condition()
        self._ready: deque[str] = deque()
        self._hints: dict[str, str] = {}  # of the keys that wait in _ready, or for their present look to end
        self._urgent: set[str] = set()
        self._busy: dict[str, float] = {}  # since when
        self._failures: dict[str, int] = {}
        self._later: list[tuple[float, str]] = []  # a heap; what is not in _due as well is void
        self._due: dict[str, float] = {}
        self._closing = False
        self._turns = 0  # of the dispatcher
        self._refused: float | None = None  # when the last thread was refused, if it was
        supervision.start("lanes", self._serve)

    def ask(self, key: str, hint: str, *, urgent: bool = False) -> None:
        """Have `key` looked at soon, before all others that wait if it is urgent. Never blocks."""
        with self._changed:
            if not self._closing:
                self._enqueue(key, hint, urgent=urgent)
                self._changed.notify_all()

    def idle(self) -> bool:
        """Whether nothing is being looked at or waits for it now; retries that are due later do not count."""
        with self._changed:
            return not self._hints and not self._busy

    def busy(self) -> tuple[str, ...]:
        """The keys that are being looked at.

        The dispatcher has to take a turn first: for as long as it gives nobody work, nothing is said here either.
        """
        with self._changed:
            asked = self._turns
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._turns != asked or self._closing)
            return tuple(sorted(self._busy))

    def due(self) -> dict[str, float]:
        """When what failed is tried again, by the monotonic clock."""
        with self._changed:
            return dict(self._due)

    def drain(self, seconds: float) -> list[str]:
        """Take no new work, wait for what is under way, and return the keys that are not done in time."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._closing = True
            self._ready.clear()
            self._hints.clear()
            self._urgent.clear()
            self._due.clear()
            self._changed.notify_all()
            while self._busy and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            return sorted(self._busy)

    def _enqueue(self, key: str, hint: str, *, urgent: bool = False) -> None:
        if key not in self._busy:
            if urgent and key in self._hints:
                self._ready.remove(key)  # it waits already, but not in front
            if urgent or key not in self._hints:
                (self._ready.appendleft if urgent else self._ready.append)(key)
        self._hints[key] = hint
        if urgent:
            self._urgent.add(key)

    def _may_start(self, now: float) -> bool:
        if not self._ready or len(self._busy) >= MOST or self._refuses(now):
            return False
        fast = sum(now - since < SLOW for since in self._busy.values())
        return fast < self._workers or self._ready[0] in self._urgent

    def _serve(self) -> None:
        try:
            self._dispatch()
        except BaseException:
            with self._changed:  # whoever waits for our turn is to find out that there will be none
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
        """Begin to look at `key`, the first one that is ready; False when there can be no thread for it now.

        Nothing is changed before the thread is there, so nothing is lost when it is refused. It cannot be done before
        it counts as busy, because that takes the lock, which we have.
        """
        try:
            threads.start(f"look-{key[:12]}", partial(self._work, key, self._hints[key]))
        except OSError as error:
            if self._refused is None:
                log.warning("looks wait", reason=error.strerror)
            self._refused = now
            return False
        if self._refused is not None:
            log.info("looks go on")
        self._refused = None
        self._ready.popleft()
        self._busy[key] = now
        self._urgent.discard(key)
        del self._hints[key]
        return True

    def _work(self, key: str, hint: str) -> None:
        retry = Retry.LATER
        try:
            retry = self._look(key, hint)
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
                if key in self._hints:
                    (self._ready.appendleft if key in self._urgent else self._ready.append)(key)
                self._changed.notify_all()
            self._ended()


def retry_delay(failures: int, retry: Retry) -> float:
    """Seconds to wait after so many failures in a row: doubling, with jitter."""
    if retry is Retry.SOON and failures > _MOMENT:
        retry = Retry.LATER
    first = _SOON if retry is Retry.SOON else FIRST_RETRY
    return min(_LONGEST[retry], first * 2.0 ** min(failures - 1, 12)) * random.uniform(0.5, 1.0)  # noqa: S311  jitter
