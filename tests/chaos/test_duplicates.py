"""Rules that are there twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.checker import complaints
from tests.chaos.wanted import Wanted, configure

if TYPE_CHECKING:
    from tests.engine.daemons import Cli
    from tests.hosts import Host, Outside

WANTED = {"one": Wanted(("alpha",), (8081,))}
TWICE = "iptables -S DOCKERCNI-FORWARD | grep dockercni: | sed 's/^-A/iptables -I/' | sh"


def test_accepts(host: Host, outside: Outside, cli: Cli) -> None:
    """Accepts that two of us made at the same moment are there once after a sync, and not at all when all are gone."""
    configure(host)
    WANTED["one"].run(host, "one")
    cli("sync", check=True)
    host.run("/bin/sh", "-c", TWICE)
    assert len(complaints(host, outside, WANTED)) == 2
    cli("sync", check=True)
    assert complaints(host, outside, WANTED) == []
    host.run("/bin/sh", "-c", TWICE)
    host.docker("rm", "--force", "one")
    cli("sync", check=True)
    assert complaints(host, outside, WANTED) == []
