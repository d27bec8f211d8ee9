"""The address of an earlier life with the hardware address of a new one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.chaos.checker import complaints
from tests.chaos.wanted import Wanted, configure

if TYPE_CHECKING:
    from tests.engine.daemons import Cli
    from tests.hosts import Host, Outside

# The others keep the bridges up: with its last port a bridge forgets its neighbours.
WANTED = {
    "one": Wanted(("beta", "gamma"), (8081,)),
    "two": Wanted(("beta",)),
    "three": Wanted(("gamma",)),
}


@pytest.mark.parametrize("backend", ["exec", "builtin"])
def test_neighbours_are_told(host: Host, outside: Outside, cli: Cli, backend: str) -> None:
    """After a restart with the same addresses nobody goes on sending to the hardware addresses of the life before."""
    configure(host)
    for name, want in WANTED.items():
        want.run(host, name)
    for _ in range(2):
        cli("sync", f"--backend={backend}")
    assert complaints(host, outside, WANTED) == []
    host.docker("restart", "--time=0", "one")
    cli("sync", f"--backend={backend}", check=True)
    known = {(one["dst"], one["dev"]): one["lladdr"] for one in _ip(host, "neighbour") if "lladdr" in one}
    for link in _ip(host.container("one"), "address"):
        if link["ifname"] != "lo":
            bridge = "cni-beta" if link["ifname"] == "eth0" else "cni-gamma"
            assert known[link["addr_info"][0]["local"], bridge] == link["address"], known
    assert complaints(host, outside, WANTED) == []


def _ip(place: Host, what: str) -> list[dict[str, object]]:
    return json.loads(place.run("ip", "-json", what).stdout)
