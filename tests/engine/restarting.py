"""Containers that start while the daemon is restarted and killed: how many are ready at their first instruction."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.engine.daemons import Daemon
from tests.engine.probes import sees_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hosts import Host


def ready(host: Host, start: Callable[[], Daemon], count: int) -> int:
    """Start so many, three at a time, while the daemon is stopped and started three times, and killed and started once.

    `start` starts a daemon, and does not wait for it.
    """
    ends: list[Callable[[Daemon], object]] = [Daemon.stop, Daemon.stop, Daemon.stop, Daemon.kill]
    daemon = start()
    daemon.wait_event("ready")
    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(sees_address, host) for _ in range(count)]
        for number, end in enumerate(ends, 1):
            for run in runs[: number * count // (len(ends) + 1)]:
                run.result()  # so they are spread over all the starts
            end(daemon)
            daemon = start()
        return sum(run.result() for run in runs)
