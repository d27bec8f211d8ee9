"""All containers, however they are started, find address and route at their first instruction."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.engine.rows import DHCP_BRIDGE, ROWS, Row
from tests.hosts import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engine.daemons import Daemon
    from tests.hosts import Host

NEEDS = {"DHCP": "dnsmasq", "Compose": "docker-compose"}


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(host: Host, daemon: Callable[..., Daemon], row: Row) -> None:
    """Every one of them, none tried again, and none of their starts was let go for another reason than success."""
    for word, program in NEEDS.items():
        if row.name.startswith(word) and not shutil.which(program, path=host.env["PATH"]):
            pytest.skip(f"needs {program}")
    one = daemon(*row.prepare(host))
    try:
        ready, count = row.start(host)
        assert ready == count
        wait_until(lambda: len(_ends(one)) >= count, 20, "the last one's end", lambda: len(_ends(one)))
        assert set(_ends(one)) == {"go"}
    finally:
        host.run("ip", "link", "delete", DHCP_BRIDGE, check=False)


def _ends(daemon: Daemon) -> list[str]:
    return [event["reason"] for event in daemon.log() if event["event"] == "released"]
