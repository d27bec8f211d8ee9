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
from typing import Final

FIRST_RETRY: Final = 1.0  # seconds
LONGEST_RETRY: Final = 300.0  # seconds
SLOW: Final = 1.0  # seconds after which a look no longer counts as work, but as waiting for something
MOST: Final = 256  # looks at once, slow and urgent ones included


class Lanes:
    """Runs `look(key, hint)` for the keys asked for, each in a thread of its own, `workers` at a time.

    `look` returns True when there is nothing left to do for the key; else it is tried again, with a delay that doubles
    from try to try, for as long as it says so. A look that takes long (a plugin that hangs) gives its place to the next
    one, so that it delays nobody.
    """

    def __init__(self, look: Callable[[str, str], bool], workers: int) -> None:
        self._look = look
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
        threading.Thread(target=self._dispatch, name="lanes", daemon=True).start()

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
        if not self._ready or len(self._busy) >= MOST:
            return False
        fast = sum(now - since < SLOW for since in self._busy.values())
        return fast < self._workers or self._ready[0] in self._urgent

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
                if self._may_start(now):
                    key = self._ready.popleft()
                    self._busy[key] = now
                    self._urgent.discard(key)
                    work = (key, self._hints.pop(key))
                    threading.Thread(target=self._work, args=work, name=f"look-{key[:12]}", daemon=True).start()
                    continue
                moments = [self._later[0][0]] if self._later else []
                if self._ready and self._busy:
                    moments.append(
                        min((since for since in self._busy.values() if now - since < SLOW), default=now) + SLOW
                    )
                self._changed.wait(max(0.0, min(moments) - now) if moments else None)

    def _work(self, key: str, hint: str) -> None:
        done = False
        try:
            done = self._look(key, hint)
        finally:
            with self._changed:
                del self._busy[key]
                self._due.pop(key, None)
                if done:
                    self._failures.pop(key, None)
                elif not self._closing:
                    failures = self._failures[key] = self._failures.get(key, 0) + 1
                    self._due[key] = time.monotonic() + retry_delay(failures)
                    heapq.heappush(self._later, (self._due[key], key))
                if key in self._hints:
                    (self._ready.appendleft if key in self._urgent else self._ready.append)(key)
                self._changed.notify_all()


def retry_delay(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubling, with jitter."""
    return min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(failures - 1, 12)) * random.uniform(0.5, 1.0)  # noqa: S311  jitter
