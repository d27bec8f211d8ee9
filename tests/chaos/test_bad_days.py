"""Streams that lie, engines that forget, disks that are full: what one container is not to suffer from."""

from __future__ import annotations

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.chaos import orders
from tests.chaos.checker import complaints
from tests.chaos.proxy import URL, Proxy
from tests.chaos.vitals import Vitals, vitals
from tests.chaos.wanted import Wanted, configure
from tests.hosts import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host, Outside

WANTED = {"one": Wanted(("alpha",), (8081,)), "two": Wanted(("beta",), (8082,))}
MORE_KIB = 6 * 1024


@pytest.fixture
def between(host: Host) -> Iterator[Proxy]:
    """A proxy before the engine, and the networks."""
    configure(host)
    with Proxy(host) as one:
        yield one


def _converges(host: Host, outside: Outside, seconds: float = 20) -> None:
    wait_until(
        lambda: not complaints(host, outside, WANTED), seconds, "convergence", lambda: complaints(host, outside, WANTED)
    )


def test_flood_of_events(host: Host, outside: Outside, daemon: Start, between: Proxy) -> None:
    """Ten thousand events at once, of containers that exist and that do not, neither fill the daemon nor deafen it."""
    running = daemon("--docker-host", URL)
    container = WANTED["one"].run(host, "one")
    _converges(host, outside)
    kinds = ("exec_create: sh -c true", "exec_start: sh -c true", "start", "die", "destroy")

    def flood() -> Vitals:
        between.tell([_event(container if n % 3 else f"{n:064x}", kinds[n % len(kinds)], n) for n in range(10_000)])
        asked = len(between.asked)
        wait_until(lambda: len(between.asked) > asked, 60, "a look at the last of them")
        rested = wait_until(at_rest, 60, "rest")
        assert rested
        return rested

    def at_rest() -> Vitals | None:
        now = vitals(host, running.program.pid)
        return now if now.threads <= threads else None

    threads = vitals(host, running.program.pid).threads
    before = flood()  # the engine's client keeps as many connections as were needed at once
    after = flood()
    WANTED["two"].run(host, "two")
    _converges(host, outside, 60)
    assert after.resident <= before.resident + MORE_KIB, (before, after)
    assert after.descriptors <= before.descriptors + 2, (before, after)


def test_flood_of_execs(host: Host, outside: Outside, daemon: Start) -> None:
    """Hundreds of `docker exec` change nothing, and the start between them is not lost."""
    configure(host)
    running = daemon()
    WANTED["one"].run(host, "one")
    _converges(host, outside)
    before = vitals(host, running.program.pid)
    with ThreadPoolExecutor(4) as pool:
        work = "for i in $(seq 50); do docker exec one true; done"
        floods = [pool.submit(host.run, "/bin/sh", "-c", work) for _ in range(4)]
        WANTED["two"].run(host, "two")
        for flood in floods:
            flood.result()
    _converges(host, outside)
    assert vitals(host, running.program.pid).resident <= before.resident + MORE_KIB


def test_silent_stream(host: Host, outside: Outside, daemon: Start, between: Proxy) -> None:
    """A stream that stays open and says nothing any more is noticed by the resync at the latest."""
    running = daemon("--docker-host", URL, "--resync-interval", "2s")
    between.silent = True
    WANTED["one"].run(host, "one")
    _converges(host, outside)
    between.silent = False
    heard = len(running.log())
    WANTED["two"].run(host, "two")
    running.wait_event("ADD", after=heard, container="two")


def test_cut_stream(host: Host, outside: Outside, daemon: Start, between: Proxy) -> None:
    """What happens while the stream is down is seen when it stands again, without any resync."""
    running = daemon("--docker-host", URL, "--resync-interval", "off")
    for name, want in WANTED.items():
        between.cut()
        want.run(host, name)
    _converges(host, outside)
    assert running.program.running


@pytest.mark.parametrize("pinned", [True, False])
def test_forgetful_engine(host: Host, outside: Outside, daemon: Start, between: Proxy, pinned: bool) -> None:
    """An engine that says by mistake that there are no containers costs a live one nothing."""
    running = daemon("--docker-host", URL)
    container = WANTED["one"].run(host, "one")
    _converges(host, outside)
    before = _lease(host)
    if not pinned:
        host.run("umount", f"/run/netns/dockercni-{container}")
    between.forgetful = True
    asked, heard = len(between.asked), len(running.log())
    running.program.process.send_signal(signal.SIGHUP)
    running.wait_event("reconciling all", after=heard)
    wait_until(lambda: any(f"/{container}/json" in line for line in between.asked[asked:]), 20, "a look at it")
    between.cut()
    running.wait_event("reconciling all", after=heard, reason="connected to the engine")
    left = complaints(host, outside, WANTED)
    assert [line for line in left if not line.startswith(("pin", "mount"))] == []
    between.forgetful = False
    running.program.process.send_signal(signal.SIGHUP)
    _converges(host, outside)
    assert _lease(host) == before
    assert not [event for event in running.log() if event["event"].startswith("DEL")]


@pytest.mark.parametrize("how", ["size=4k", "ro"])
def test_state_cannot_be_written(host: Host, outside: Outside, daemon: Start, cli: Cli, how: str) -> None:
    """While the disk is full or read-only containers wait for their network, and what fails is taken back or kept."""
    configure(host)
    running = daemon()
    WANTED["one"].run(host, "one")
    _converges(host, outside)
    places = ("/var/lib/cni", "/var/lib/dockercni")
    for place in places:
        _remount(host, how, place)
    heard = len(running.log())
    WANTED["two"].run(host, "two")
    host.docker("restart", "--time=0", "one")
    failed = running.wait_event("ADD failed", after=heard, container="two")
    assert "/var/lib/cni" in failed["reason"], failed
    assert cli("sync").returncode == 4
    assert running.program.running
    for place in places:
        host.run("mount", "-o", "remount,rw,size=16m", place)
    cli("sync", check=True)
    assert complaints(host, outside, WANTED) == []


def test_sigterm_has_a_bound(host: Host, outside: Outside, daemon: Start, cli: Cli) -> None:
    """SIGTERM waits for what is under way, but not for ever, and names what is left; nothing live is touched."""
    configure(host)
    obedient = orders.Orders(host)
    running = daemon("--backend", "exec", "--cni-bin-dir", orders.SEARCH)
    WANTED["one"].run(host, "one")
    _converges(host, outside)
    order = obedient.give("portmap.ADD.before.hang")
    container = WANTED["two"].run(host, "two")
    wait_until(lambda: not order.exists(), 20, "a plugin that hangs")
    began = time.monotonic()
    assert running.stop(30) == 0
    assert time.monotonic() - began < 25
    last = running.wait_event("stopped with unfinished work")
    assert container in str(last["unfinished"])
    cli("sync", "--plugin-timeout", "1s", "--cni-bin-dir", orders.SEARCH, check=True)
    assert complaints(host, outside, WANTED) == []


def _event(container: str, action: str, number: int) -> bytes:
    actor = {"ID": container, "Attributes": {"name": "flood"}}
    moment = time.time_ns() + number
    return json.dumps({"Type": "container", "Action": action, "Actor": actor, "timeNano": moment}).encode()


def _lease(host: Host) -> list[str]:
    return sorted(path.name for path in host.path("/var/lib/cni/networks/alpha").glob("10.*"))


def _remount(host: Host, how: str, place: str) -> None:
    """A tmpfs may not be made smaller than what is in it, and not read-only while a file is open for writing."""

    def done() -> bool:
        used = host.run("df", "--output=used", "--block-size=1", place).stdout.split()[1]
        options = f"remount,size={used}" if how.startswith("size") else f"remount,{how}"
        return host.run("mount", "-o", options, place, check=False).returncode == 0

    wait_until(done, 20, f"{how} on {place}")
