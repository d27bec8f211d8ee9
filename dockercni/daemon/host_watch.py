"""Which containers are affected when links of the host change, by events of the kernel."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from dockercni.cni import CacheEntry
from dockercni.linux.events import EVERYTHING, LinkEvents
from dockercni.reconcile.host_needs import needs

_CALM: Final = 0.05  # seconds without a change of links: each start makes several within a few milliseconds
_LONGEST: Final = 0.3  # seconds that changes may be delayed: the host's half has to be repaired within one
_RELEARN: Final = 10.0  # seconds between two readings of all records, for links that no container is known to need


class HostWatch:
    """Calls `changed_for_some` when a link changed that a container needs. Thread-safe.

    Other links are ignored: fifty starts at once change hundreds of links, none of which is recorded yet.
    """

    def __init__(self, changed_for_some: Callable[[], None]) -> None:
        self._changed_for_some = changed_for_some
        self._guard = threading.Lock()
        self._needed: dict[str, frozenset[str]] = {}  # the links that each container needs
        self._concerned: set[str] = set()
        self._unknown: set[str] = set()
        self._learned = 0.0

    def learn(self, container_id: str, entries: Iterable[CacheEntry]) -> None:
        """The container needs what is recorded for it from now on."""
        links = frozenset[str]().union(*(needs(entry).names for entry in entries if entry.owner))
        with self._guard:
            if links:
                self._needed[container_id] = links
            else:
                self._needed.pop(container_id, None)

    def concerned(self, entries: Callable[[], Iterable[CacheEntry]]) -> set[str]:
        """The ids of the containers that need a link that changed since the last call.

        `entries` returns all records. They are read again now and then, if links change that no container is known to
        need: a command may have attached something beside the daemon.
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
        """Watch for ever. Raises OSError if that fails; the next run starts as if every link had changed."""
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
            affected = found or (self._unknown and time.monotonic() - self._learned >= _RELEARN)
        if affected:
            self._changed_for_some()

    def _needing(self, links: set[str]) -> set[str]:
        everybody = EVERYTHING in links
        return {each for each, needed in self._needed.items() if everybody or not needed.isdisjoint(links)}
