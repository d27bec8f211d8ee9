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
MOST_HELPERS: Final = 64  # threads beside the workers, while many containers start at the same time


class Lanes:
    """Runs `look(key, hint)` for the keys asked for, in `workers` threads, and more for a while for what is urgent.

    `look` returns True when there is nothing left to do for the key; else it is tried again, with a delay that doubles
    from try to try, for as long as it says so.
    """

    def __init__(self, look: Callable[[str, str], bool], workers: int) -> None:
        self._look = look
        self._changed = threading.Condition()
        self._ready: deque[str] = deque()
        self._hints: dict[str, str] = {}  # keys that wait in _ready, or for their present look to end
        self._busy: set[str] = set()
        self._failures: dict[str, int] = {}
        self._later: list[tuple[float, str]] = []  # a heap; what is not in _due as well is void
        self._due: dict[str, float] = {}
        self._closing = False
        self._idle = 0
        self._helpers = 0
        self._threads = [threading.Thread(target=self._work, name=f"lane-{n}", daemon=True) for n in range(workers)]
        for thread in self._threads:
            thread.start()

    def ask(self, key: str, hint: str, *, urgent: bool = False) -> None:
        """Have `key` looked at soon, before all others that wait if it is urgent. Never blocks."""
        with self._changed:
            if self._closing:
                return
            waiting = key in self._hints
            self._hints[key] = hint
            if key in self._busy:
                return
            if not waiting:
                (self._ready.appendleft if urgent else self._ready.append)(key)
                self._changed.notify()
                if urgent and len(self._ready) > self._idle and self._helpers < MOST_HELPERS:
                    self._helpers += 1
                    threading.Thread(target=self._help, name="lane-helper", daemon=True).start()

    def idle(self) -> bool:
        """Whether nothing is being looked at or waits for it now; retries that are due later do not count."""
        with self._changed:
            return not self._hints and not self._busy

    def drain(self, seconds: float) -> list[str]:
        """Take no new work, wait for what is under way, and return the keys that are not done in time."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._closing = True
            self._ready.clear()
            self._hints.clear()
            self._due.clear()
            self._changed.notify_all()
            while self._busy and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            return sorted(self._busy)

    def _help(self) -> None:
        """What a worker does, until nothing waits."""
        try:
            self._work(wait=False)
        finally:
            with self._changed:
                self._helpers -= 1

    def _work(self, *, wait: bool = True) -> None:
        while (work := self._take(wait=wait)) is not None:
            key, hint = work
            done = False
            try:
                done = self._look(key, hint)
            finally:
                self._put_back(key, done=done)

    def _take(self, *, wait: bool) -> tuple[str, str] | None:
        with self._changed:
            while not self._closing:
                now = time.monotonic()
                while self._later and self._later[0][0] <= now:
                    due, key = heapq.heappop(self._later)
                    if self._due.get(key) != due:
                        continue
                    del self._due[key]
                    if key not in self._hints:
                        self._hints[key] = "retry"
                        if key not in self._busy:
                            self._ready.append(key)
                if self._ready:
                    key = self._ready.popleft()
                    self._busy.add(key)
                    return key, self._hints.pop(key)
                if not wait:
                    return None
                self._idle += 1
                self._changed.wait(self._later[0][0] - now if self._later else None)
                self._idle -= 1
            return None

    def _put_back(self, key: str, *, done: bool) -> None:
        with self._changed:
            self._busy.discard(key)
            self._due.pop(key, None)
            if done:
                self._failures.pop(key, None)
            elif not self._closing:
                failures = self._failures[key] = self._failures.get(key, 0) + 1
                self._due[key] = time.monotonic() + retry_delay(failures)
                heapq.heappush(self._later, (self._due[key], key))
            if key in self._hints:
                self._ready.append(key)
            self._changed.notify_all()


def retry_delay(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubling, with jitter."""
    return min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(failures - 1, 12)) * random.uniform(0.5, 1.0)  # noqa: S311
