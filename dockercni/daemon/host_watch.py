"""Which containers are concerned when something of the host's links goes: told by the kernel, as it happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from dockercni.cni import CacheEntry
from dockercni.linux.events import EVERYTHING, LinkEvents
from dockercni.reconcile.host_needs import needs

_CALM: Final = 0.05  # seconds without a change of links: each start makes a handful within a few milliseconds
_LONGEST: Final = 0.3  # seconds that such changes are put off: what is gone is to be back within one

_RELEARN: Final = 10.0  # seconds


class HostWatch:
    """Calls `ask` when a link changed that a container needs. Thread-safe.

    Links that nobody needs are no news: fifty starts at once change hundreds, none of which is recorded yet, and cost
    no look at anybody.
    """

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._guard = threading.Lock()
        self._needed: dict[str, frozenset[str]] = {}  # the links that each container needs
        self._concerned: set[str] = set()
        self._unknown: set[str] = set()
        self._learned = 0.0

    def learn(self, container_id: str, entries: Iterable[CacheEntry]) -> None:
        """From now on the container needs what is recorded for it."""
        links = frozenset[str]().union(*(needs(entry).names for entry in entries if entry.owner))
        with self._guard:
            if links:
                self._needed[container_id] = links
            else:
                self._needed.pop(container_id, None)

    def concerned(self, entries: Callable[[], Iterable[CacheEntry]]) -> set[str]:
        """The ids of the containers that need what changed since this was asked last.

        `entries` are all that are recorded: a command may have attached something beside us, which is learned now and
        then, when links change that nobody is known to need.
        """
        with self._guard:
            due = self._unknown and time.monotonic() - self._learned >= _RELEARN
        if due:
            by_container: dict[str, list[CacheEntry]] = {}
            for entry in entries():
                by_container.setdefault(entry.container_id, []).append(entry)
            for container_id, found in by_container.items():
                self.learn(container_id, found)
            with self._guard:
                self._learned = time.monotonic()
                self._concerned |= self._needing(self._unknown)
                self._unknown.clear()
        with self._guard:
            concerned, self._concerned = self._concerned, set()
            return concerned

    def run(self) -> None:
        """Watch for ever. Raises OSError when that breaks; what happened until it is run again is made up for."""
        with LinkEvents() as events:
            if self._needed:
                self.changed({EVERYTHING})
            while True:
                self.changed(events.wait(_CALM, _LONGEST))

    def changed(self, links: set[str]) -> None:
        """Those links changed."""
        with self._guard:
            found = self._needing(links)
            self._concerned |= found
            self._unknown |= links.difference(*self._needed.values())
            ask = found or (self._unknown and time.monotonic() - self._learned >= _RELEARN)
        if ask:
            self._ask()

    def _needing(self, links: set[str]) -> set[str]:
        everybody = EVERYTHING in links
        return {each for each, needed in self._needed.items() if everybody or not needed.isdisjoint(links)}
