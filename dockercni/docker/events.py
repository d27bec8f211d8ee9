"""Follows the engine's event stream, reconnects for ever, and reports every gap.

An event says only which container to reconcile; after a gap, all of them have to be.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from dockercni.docker.client import ACTIONS, Client, Subscription
from dockercni.errors import DockercniError

FIRST_DELAY: Final = 0.2  # seconds
LONGEST_DELAY: Final = 15.0  # seconds: the longest pause, so an engine that is back is noticed within it
HEALTHY: Final = 60.0  # seconds that a stream must last for its end to count as the first failure again

log = structlog.get_logger()


class Watch:
    """Follows the event stream of one engine.

    `connected` is called after each subscription and before its first event is read: listing all containers then
    leaves no gap. `changed` gets a container's id and the event's action, `lost` the reason when the stream ended,
    `networks` is called for each event of a network. None may block: the engine drops events for a slow subscriber.
    """

    def __init__(
        self,
        client: Client,
        connected: Callable[[], None],
        changed: Callable[[str, str], None],
        stop: threading.Event,
        lost: Callable[[str], None] = lambda _reason: None,
        networks: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._connected = connected
        self._changed = changed
        self._stop = stop
        self._lost = lost
        self._networks = networks
        self._events: Subscription | None = None
        self._heard = False

    def run(self) -> None:
        """Follow the stream until `stop` is set."""
        since: str | None = None
        failures = 0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                with self._client.events(since) as events:
                    self._heard = True
                    self._events = events
                    self._connected()
                    for event in events:
                        self._heard = True
                        since = event.moment
                        if event.kind == "network":
                            self._networks()
                        elif event.action in ACTIONS:
                            self._changed(event.id, event.action)
                        if self._stop.is_set():
                            return
                if events.replaced:
                    failures = 0
                    continue
                reason = "the stream ended"
            except DockercniError as error:
                reason = str(error)
            if self._stop.is_set():
                return
            failures = 1 if time.monotonic() - began > HEALTHY else failures + 1
            self._lost(reason)
            seconds = delay(failures)
            log.warning("engine lost", reason=reason, retry_in=round(seconds, 1))
            self._stop.wait(seconds)

    def replace_if_silent(self) -> None:
        """Subscribe again if nothing was read since the last call: a stream can be dead without having ended."""
        events, heard = self._events, self._heard
        self._heard = False
        if events and not heard:
            log.debug("stream replaced", reason="nothing was read from it since the last resync")
            events.replace()


def delay(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, with jitter, so that hosts do not align."""
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures - 1, 10)) * random.uniform(0.5, 1.0)  # noqa: S311  jitter
