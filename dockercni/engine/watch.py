"""Events -> "look at this container". Reconnects for ever; every gap means: look at all of them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from dockercni.engine.client import Client
from dockercni.errors import DockercniError

FIRST_DELAY: Final = 0.2  # seconds
LONGEST_DELAY: Final = 15.0  # seconds: an engine that comes back is noticed within that
HEALTHY: Final = 60.0  # seconds a stream has to last for its end to count as the first failure again

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Watch:
    """Follows the event stream of one engine.

    `connected` is called before the stream is read, each time anew: the subscription stands then, so what a list shows
    and what events say leave no gap between them. `look` gets a container's id and the event's action, `lost` why the
    stream ended. None may block: while they work nobody reads, and the engine drops events that a subscriber is too
    slow for.
    """

    client: Client
    connected: Callable[[], None]
    look: Callable[[str, str], None]
    stop: threading.Event
    lost: Callable[[str], None] = field(default=lambda _reason: None)

    def run(self) -> None:
        """Follow the stream until `stop` is set."""
        since: str | None = None
        failures = 0
        while not self.stop.is_set():
            began = time.monotonic()
            try:
                with self.client.events(since) as events:
                    self.connected()
                    for event in events:
                        since = event.moment
                        self.look(event.container_id, event.action)
                        if self.stop.is_set():
                            return
                reason = "the stream ended"
            except DockercniError as error:
                reason = str(error)
            if self.stop.is_set():
                return
            failures = 1 if time.monotonic() - began > HEALTHY else failures + 1
            self.lost(reason)
            seconds = delay(failures)
            log.warning("engine lost", reason=reason, retry_in=round(seconds, 1))
            self.stop.wait(seconds)


def delay(failures: int) -> float:
    """How long to wait after so many failures in a row: doubling, with jitter, so that not all come back at once."""
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures - 1, 10)) * random.uniform(0.5, 1.0)  # noqa: S311
