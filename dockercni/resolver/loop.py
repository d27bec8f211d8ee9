"""An event loop for one thread: descriptors by epoll, and timers."""

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
    """Work for later."""

    __slots__ = ("_work",)

    def __init__(self, work: Handler) -> None:
        self._work: Handler | None = work

    def cancel(self) -> None:
        """Do not run it."""
        self._work = None

    def ring(self) -> None:
        """Run it, unless it was cancelled."""
        if self._work:
            self._work()


class Loop:
    """Calls the handlers of descriptors that are ready, and the timers that are due."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def add(self, fd: int, handler: Handler, events: int = READ) -> None:
        """Call `handler` whenever the descriptor is ready."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def change(self, fd: int, events: int) -> None:
        """Wait for other events of the descriptor."""
        self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Stop waiting for a descriptor, before it is closed: epoll goes on while another process has it open."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def pause(self, fd: int, seconds: float) -> None:
        """Ignore a descriptor for a while: one that is ready and cannot be served would keep the loop busy."""
        handler = self._handlers.get(fd)
        self.change(fd, 0)

        def go_on() -> None:
            if handler and self._handlers.get(fd) is handler:
                self.change(fd, READ)

        self.later(seconds, go_on)

    def later(self, seconds: float, work: Handler) -> Timer:
        """Run `work` once, after that time."""
        timer = Timer(work)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def turn(self, longest: float) -> None:
        """Handle what is ready or due; wait for it no longer than `longest` seconds."""
        if self._timers:
            longest = min(longest, max(0.0, self._timers[0][0] - time.monotonic()))
        for fd, _ in self._epoll.poll(longest):
            if handler := self._handlers.get(fd):  # an earlier handler of this turn may have removed it
                handler()
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2].ring()

    def close(self) -> None:
        """Close the loop."""
        self._epoll.close()
