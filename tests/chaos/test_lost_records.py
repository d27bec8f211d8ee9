"""Records that somebody deleted or damaged while the container lives, or after it is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.checker import complaints
from tests.chaos.wanted import Wanted, configure
from tests.hosts import leftovers

if TYPE_CHECKING:
    from tests.engine.daemons import Cli
    from tests.hosts import Host, Outside

WANTED = {"one": Wanted(("alpha", "beta"), (8081,))}
NET = "/etc/cni/net.d"
LOSSES = ("rm", "truncate --size=99", "truncate --size=0")


@pytest.mark.parametrize("made_by", ["exec", "builtin"])
def test_engine_has_changed(host: Host, outside: Outside, cli: Cli, made_by: str) -> None:
    """A lost attachment is taken back by what made it, whatever the setting says now."""
    configure(host)
    WANTED["one"].run(host, "one")
    cli("sync", f"--backend={made_by}", check=True)
    host.run("/bin/sh", "-c", "rm /var/lib/cni/results/*")
    cli("sync", "--backend=builtin" if made_by == "exec" else "--backend=exec", check=True)
    assert complaints(host, outside, WANTED) == []


@pytest.mark.parametrize("backend", ["exec", "builtin"])
def test_container_is_gone_too(host: Host, outside: Outside, cli: Cli, backend: str) -> None:
    """A record that was lost before its container was removed costs no lease, link or rule after one sync."""
    configure(host)
    for loss in LOSSES:
        WANTED["one"].run(host, "one")
        cli("sync", f"--backend={backend}", check=True)
        host.run("/bin/sh", "-c", f"{loss} /var/lib/cni/results/*")
        host.docker("rm", "--force", "one")
        synced = cli("sync", f"--backend={backend}")
        left = complaints(host, outside, WANTED)
        unreadable = [line for line in left if line.startswith("cache entry: ") and not loss.startswith("rm")]
        assert left == unreadable, (loss, left, synced.stdout)  # what cannot be read is named, and left alone
        host.run("/bin/sh", "-c", "rm -f /var/lib/cni/results/*")


@pytest.mark.parametrize(
    ("spoil", "kept"),
    [(f"rm {NET}/*", ""), (f'sed -i \'s/"type": *"bridge"/"type": "nobody"/\' {NET}/*', "lease ")],
    ids=["no file", "no plugin"],
)
def test_live_and_beyond_repair(host: Host, outside: Outside, cli: Cli, spoil: str, kept: str) -> None:
    """What a live container uses stays while its lost record cannot be made good; its lease, where DEL half fails."""
    configure(host)
    WANTED["one"].run(host, "one")
    cli("sync", "--backend=exec", check=True)
    host.run("/bin/sh", "-c", f"rm /var/lib/cni/results/*; {spoil}")

    def used() -> list[str]:
        return [line for line in leftovers(host) if line.startswith(kept) and not line.startswith("cache")]

    before = used()
    assert before
    for command in ("sync", "gc"):
        cli(command, "--backend=exec")
        assert used() == before, command
    configure(host)
    cli("sync", "--backend=exec", check=True)
    assert complaints(host, outside, WANTED) == []


def test_memory_is_refreshed(host: Host, outside: Outside, cli: Cli) -> None:
    """What could not be remembered when a container was attached is remembered by the next look."""
    configure(host)
    WANTED["one"].run(host, "one")
    cli("sync", check=True)
    host.run("/bin/sh", "-c", "rm /var/lib/dockercni/containers/*")
    cli("sync", check=True)
    host.run("/bin/sh", "-c", "truncate --size=99 /var/lib/cni/results/*")
    synced = cli("sync")
    assert complaints(host, outside, WANTED) == [], synced.stdout
