"""A container that can write to the host's cgroups cannot pass for another one: the name of a directory is no proof."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from dockercni.linux import cgroups
from tests.engine.containers import addresses, ask, run, wait_attached
from tests.hosts import IMAGE, serve_tcp, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engine.daemons import Start
    from tests.hosts import Host, Outside

CGROUPS = "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw"
PORT = 8080
CLAIM = 'for place; do mkdir -p "$place" || exit 1; sleep 86400 & echo $! >"$place/cgroup.procs" || exit 1; done'


class Claimant:
    """A container that makes directories named after `victim` and puts a process of its own into each."""

    def __init__(self, host: Host, victim: str) -> None:
        top = cgroups.hierarchy()
        parent = top / host.name
        self.host = host
        self.ignored = [  # in the order in which they are made
            top / victim,
            top / f"docker-{victim}.scope",
            top / f"{host.name}-evil" / "docker" / victim,
            parent / f"docker-{victim}.scope",
            parent / "deeper" / victim,
        ]
        self.right = parent / victim
        run(host, "evil", CGROUPS, "--label=dockercni.enable=false")

    def claim(self, *places: Path) -> None:
        """Make these, each with a process inside."""
        self.host.docker("exec", "evil", "sh", "-c", CLAIM, "sh", *map(str, places))

    def leave(self) -> None:
        """End its processes, and remove what it made."""
        self.host.docker("exec", "evil", "sh", "-c", "killall sleep", check=False)
        for place in (*self.ignored, self.right, self.ignored[2].parent, self.ignored[2].parent.parent):
            wait_until(lambda place=place: _removed(place), 10, f"the end of {place}")  # type: ignore[misc]


def _removed(place: Path) -> bool:
    with contextlib.suppress(OSError):
        place.rmdir()
    return not place.exists()


@pytest.fixture
def victim(host: Host) -> str:
    """The id of a container with a published port that was never started."""
    flags = ("--name=victim", "--network=none", f"--publish={PORT}:80")
    return host.docker("create", *flags, IMAGE, *serve_tcp(80))


@pytest.fixture
def claimant(host: Host, victim: str) -> Iterator[Claimant]:
    """It runs; whatever it made is removed in the end."""
    one = Claimant(host, victim)
    yield one
    host.docker("stop", "--time=1", "victim")
    one.leave()


def test_before_the_victim_starts(host: Host, outside: Outside, daemon: Start, victim: str, claimant: Claimant) -> None:
    """A claim, at the right place even, gets nothing; the victim gets its network and port when it starts."""
    one = daemon()
    claimant.claim(*claimant.ignored, claimant.right)
    one.wait_event("cgroup ignored", id=victim)
    assert not addresses(host, "evil")
    host.docker("start", "victim")
    wait_attached(host, "victim")
    assert b"peer=" in ask(outside, "tcp", outside.host_address, PORT)
    assert not addresses(host, "evil")


def test_while_the_victim_runs(host: Host, outside: Outside, daemon: Start, victim: str, claimant: Claimant) -> None:
    """The victim keeps its network, address and port, whatever claims its name and whoever moves in with it."""
    one = daemon()
    host.docker("start", "victim")
    before = wait_attached(host, "victim")
    claimant.claim(*claimant.ignored, claimant.right)
    one.wait_event("cgroup ignored", id=victim)
    assert "DEL" not in {event["event"] for event in one.log()}
    assert wait_attached(host, "victim") == before
    assert not addresses(host, "evil")
    assert b"peer=" in ask(outside, "tcp", outside.host_address, PORT)
    assert [event["event"] for event in one.log()].count("cgroup ignored") == 1


def test_after_the_victim_stopped(host: Host, daemon: Start, victim: str, claimant: Claimant) -> None:
    """What is left of a container's name is nobody's; the next start is the victim's."""
    one = daemon()
    host.docker("start", "victim")
    wait_attached(host, "victim")
    host.docker("stop", "--time=1", "victim")
    one.wait_event("DEL", container="victim")
    claimant.claim(claimant.right, *claimant.ignored)
    one.wait_event("cgroup ignored", id=victim)
    assert not addresses(host, "evil")
    host.docker("start", "victim")
    wait_attached(host, "victim")
    assert not addresses(host, "evil")
