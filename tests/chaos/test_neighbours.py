"""Another runtime with the same directories, networks and kinds of ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.checker import complaints
from tests.chaos.neighbours import STRANGERS, move_in
from tests.chaos.reboot import reboot, restore
from tests.chaos.wanted import Wanted, configure

if TYPE_CHECKING:
    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host, Outside

WANTED = {"one": Wanted(("alpha", "beta"), (8081,))}


def test_neighbours(host: Host, outside: Outside, daemon: Start, cli: Cli) -> None:
    """Leases, links, rules, cache entries and namespaces of another runtime stay as they are, whatever we do."""
    configure(host)
    theirs = move_in(host, rules=True)
    running = daemon()
    WANTED["one"].run(host, "one")
    for command in (("sync",), ("gc",), ("sync",)):
        cli(*command, check=True)
        assert complaints(host, outside, WANTED, neighbours=theirs) == [], command
    host.docker("restart", "--time=0", "one")
    host.docker("rm", "--force", "one")
    running.stop()
    for command in (("gc",), ("sync",)):
        cli(*command, check=True)
        assert complaints(host, outside, WANTED, neighbours=theirs) == [], command


def test_neighbours_that_are_gone(host: Host, outside: Outside, cli: Cli) -> None:
    """What another runtime has left behind is named, and not removed: it may yet clean up itself."""
    configure(host)
    theirs = move_in(host, rules=False)
    for pin in STRANGERS.values():
        host.run("ip", "netns", "delete", pin)
    cli("gc", check=True)
    synced = cli("sync", check=True)
    left = complaints(host, outside, WANTED, neighbours=theirs)
    assert [line.split(":")[0] for line in left] == [*["pin"] * 3, *["mount"] * 3, *["link"] * 3], synced.stdout


def test_neighbours_survive_a_reboot(host: Host, outside: Outside, cli: Cli) -> None:
    """After power loss the leases and cache entries of another runtime are still there."""
    configure(host)
    theirs = move_in(host, rules=False)
    WANTED["one"].run(host, "one")
    cli("sync", check=True)
    try:
        reboot(host, outside)
        host.start_engine()
        for command in (("sync",), ("gc",)):
            cli(*command, check=True)
    finally:
        restore(host)
    left = complaints(host, outside, WANTED, neighbours=theirs)
    assert [line.split(":")[0] for line in left] == [*["pin"] * 3, *["mount"] * 3, *["link"] * 3]
