"""One thread that waits for descriptors and for time to pass."""

from __future__ import annotations

import heapq
import itertools
import select
import time
from collections.abc import Callable
from typing import Final

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT

Handler = Callable[[], None]


class Timer:
    """Work that is to be done later, unless it is cancelled."""

    __slots__ = ("_work",)

    def __init__(self, work: Handler) -> None:
        self._work: Handler | None = work

    def cancel(self) -> None:
        """Let it not be done."""
        self._work = None

    def ring(self) -> None:
        """Do it."""
        if self._work:
            self._work()


class Loop:
    """Calls the handlers of descriptors that are ready, and timers that are due. For one thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def add(self, fd: int, handler: Handler, events: int = READ) -> None:
        """Have `handler` called whenever the descriptor is ready, until it is removed."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def change(self, fd: int, events: int) -> None:
        """From now on wait for these events of the descriptor."""
        self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Wait for it no more: before it is closed, since another process may have it open still."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def later(self, seconds: float, work: Handler) -> Timer:
        """Have `work` done once, after that time."""
        timer = Timer(work)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def turn(self, longest: float) -> None:
        """Wait for no longer than that for something to do, and do it."""
        if self._timers:
            longest = min(longest, max(0.0, self._timers[0][0] - time.monotonic()))
        for fd, _ in self._epoll.poll(longest):
            if handler := self._handlers.get(fd):  # else one before it has closed it
                handler()
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2].ring()

    def close(self) -> None:
        """Wait for nothing any more."""
        self._epoll.close()
