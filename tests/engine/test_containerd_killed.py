"""containerd is killed alone, while containers start: what never came to be a container keeps nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import wait_clean
from tests.engine.probes import BIN_DIR, configure
from tests.hosts import IMAGE, wait_until

if TYPE_CHECKING:
    from tests.engine.daemons import Start
    from tests.hosts import Host

STARTS = 12


@pytest.mark.parametrize("moment", [1, 4, 8])
def test_while_containers_start(host: Host, daemon: Start, moment: int) -> None:
    """Under a running daemon the attached containers are the running ones soon, and nothing is left in the end."""
    configure(host)
    one = daemon(BIN_DIR)

    def begin(number: int) -> None:
        flags = ("--detach", f"--name=one{number}", "--network=none")
        host.docker("run", *flags, IMAGE, check=False, timeout=120)

    with ThreadPoolExecutor(STARTS) as pool:
        starts = [pool.submit(begin, number) for number in range(STARTS)]
        wait_until(lambda: len(_attached(host)) >= moment, 30, "the first attachments")
        host.engine.kill_containerd()
        for start in starts:
            start.result()
    wait_until(
        lambda: _attached(host) == set(host.docker("ps", "--quiet", "--no-trunc").split()),
        60,
        "as many attachments as running containers",
        lambda: (_attached(host), host.docker("ps", "--all", "--no-trunc"), one.program.text()[-6000:]),
    )
    host.kill_engine()  # newer ones do without a containerd until they are started again
    host.start_engine()
    if left := host.docker("ps", "--all", "--quiet").split():
        host.docker("rm", "--force", *left, timeout=120)
    wait_clean(host)


def _attached(host: Host) -> set[str]:
    """The ids in the names of the cache's files, NETWORK-ID-IFNAME."""
    return {path.name.split("-")[1] for path in host.path("/var/lib/cni/results").glob("net-*")}
