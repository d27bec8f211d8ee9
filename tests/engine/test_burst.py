"""Many containers at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import address, run, wait_clean
from tests.hosts import wait_until

if TYPE_CHECKING:
    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host

COUNT = 50


@pytest.mark.timeout(240)
def test_fifty_at_once(host: Host, daemon: Start, cli: Cli) -> None:
    """Fifty containers started at once all have a network, each with another address; removed at once, nothing is
    left."""
    running = daemon()
    names = [f"c{number}" for number in range(COUNT)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: run(host, name), names))

    def attached() -> set[str]:
        return {event["container"] for event in running.log() if event["event"] == "ADD"}

    wait_until(lambda: attached() == set(names), 90, f"{COUNT} attachments", lambda: set(names) - attached())
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda name: address(host, name), names))) == COUNT
    assert cli("sync").stdout.splitlines() == [f"converged: {COUNT} containers, {COUNT} attachments, 0 repaired"]
    host.docker("rm", "--force", *names, timeout=120)
    wait_clean(host, 60)
