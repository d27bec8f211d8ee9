"""The daemon ends, in good order or by SIGKILL in the middle of an ADD; plugins fail, hang and outlive it."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import (
    BIN_DIRS,
    NOOP_RECORD,
    address,
    addresses,
    network,
    noop,
    noop_calls,
    run,
    settings,
    wait_clean,
)
from tests.hosts import leftovers, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host

GATE = "/run/private/gate"


@pytest.fixture(autouse=True)
def no_record(host: Host) -> Iterator[None]:
    """The no-op plugin's record starts empty, and its gate closed."""
    yield
    for path in (NOOP_RECORD, GATE):
        host.path(path).unlink(missing_ok=True)


def alive(pid: int) -> bool:
    """Whether the process is more than a zombie, which process 1 may be slow to reap."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_calls(host: Host, *verbs: str) -> None:
    """Wait until the no-op plugin was called with exactly these verbs."""
    wait_until(lambda: noop_calls(host) == list(verbs), 20, f"calls {verbs}", lambda: noop_calls(host))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped(host: Host, daemon: Start, number: signal.Signals) -> None:
    """SIGTERM or SIGINT ends the daemon with exit code 0; containers stay attached."""
    running = daemon()
    run(host, "web")
    running.wait_event("ADD", container="web")
    before = address(host, "web")
    running.program.process.send_signal(number)
    assert running.program.process.wait(20) == 0
    assert running.log()[-1]["event"] == "stopped"
    assert address(host, "web") == before


def test_stopped_in_the_middle_of_an_add(host: Host, daemon: Start, cli: Cli) -> None:
    """A daemon that is told to stop finishes the ADD that is under way."""
    settings(host, cni_bin_dir=BIN_DIRS)
    network(host, "lan", "10.77.1.0/24", more=[noop(ADD={"wait_for": GATE})])
    running = daemon()
    run(host, "web")
    wait_calls(host, "ADD")
    running.program.process.terminate()
    assert running.program.running
    host.write(GATE, "")
    assert running.program.process.wait(20) == 0
    assert "ADD" in [event["event"] for event in running.log()]
    assert cli("sync").stdout.splitlines() == ["converged: 1 container, 1 attachment, 0 repaired"]


@pytest.mark.timeout(60)
def test_many_signals(daemon: Start) -> None:
    """However many SIGHUPs come, and whenever, the daemon goes on, and ends on SIGTERM."""
    running = daemon()
    for _ in range(3000):
        running.program.process.send_signal(signal.SIGHUP)
    running.program.process.terminate()
    assert running.program.process.wait(20) == 0


@pytest.mark.parametrize("place", ["before", "more"], ids=["first plugin", "last plugin"])
def test_killed_in_the_middle_of_an_add(host: Host, daemon: Start, cli: Cli, place: str) -> None:
    """After kill -9 in the middle of an ADD `sync` takes back what was begun, and attaches the container."""
    settings(host, cni_bin_dir=BIN_DIRS, plugin_timeout="3s")
    network(host, "lan", "10.77.1.0/24", **{place: [noop(ADD={"wait_for": GATE})]})
    running = daemon()
    run(host, "web", "--publish=8080:80")
    wait_calls(host, "ADD")
    running.kill()
    host.write(GATE, "")
    done = cli("sync")
    assert done.returncode == 0, done.stdout
    words = [line.split()[:4] for line in done.stdout.splitlines()[:-1]]
    assert words == [["DEL", "web", "lan", "eth0"], ["ADD", "web", "lan", "eth0"]]
    assert "(its ADD was not finished)" in done.stdout
    assert noop_calls(host) == ["ADD", "DEL", "ADD"]
    assert addresses(host, "web")
    host.docker("rm", "--force", "web")
    assert cli("sync").returncode == 0
    wait_clean(host)


def test_killed_and_the_container_with_it(host: Host, daemon: Start, cli: Cli) -> None:
    """After kill -9 in the middle of an ADD, and the container's end meanwhile, `sync` leaves nothing."""
    settings(host, cni_bin_dir=BIN_DIRS, plugin_timeout="3s")
    network(host, "lan", "10.77.1.0/24", more=[noop(ADD={"wait_for": GATE})])
    running = daemon()
    run(host, "web", "--publish=8080:80")
    wait_calls(host, "ADD")
    running.kill()
    host.docker("rm", "--force", "web")
    host.write(GATE, "")
    assert cli("sync").returncode == 0
    assert noop_calls(host) == ["ADD", "DEL"]
    assert leftovers(host) == []


def test_plugin_outlives_the_daemon(host: Host, daemon: Start, cli: Cli) -> None:
    """A plugin that outlives the daemon keeps the container's lock: nobody works on the container beside it. Once it
    has had its time it is killed."""
    settings(host, cni_bin_dir=BIN_DIRS, plugin_timeout="2s")
    network(host, "lan", "10.77.1.0/24", more=[noop(ADD={"wait_for": GATE})])
    running = daemon()
    run(host, "web")
    wait_calls(host, "ADD")
    orphan = json.loads(host.read(NOOP_RECORD))["pid"]
    running.kill()
    assert alive(orphan)
    network(host, "lan", "10.77.1.0/24", more=[noop()])  # for the ADD that follows; DEL goes by the record
    done = cli("sync")
    assert done.returncode == 0, done.stdout
    assert noop_calls(host) == ["ADD", "DEL", "ADD"]
    assert not alive(orphan)
    assert addresses(host, "web")


def test_failing_plugin(host: Host, daemon: Start) -> None:
    """When the last plugin of a chain fails, the whole chain is taken back at once, with the plugin's words in the log;
    it is tried again until it works."""
    settings(host, cni_bin_dir=BIN_DIRS)
    network(host, "lan", "10.77.1.0/24", more=[noop(ADD={"fail": {"msg": "the moon is full"}})])
    running = daemon()
    run(host, "web")
    failed = running.wait_event("ADD failed", container="web")
    assert "the moon is full" in failed["reason"]
    assert noop_calls(host)[:2] == ["ADD", "DEL"]
    wait_until(lambda: {line.split()[0] for line in leftovers(host)} <= {"pin"}, 20, "it is taken back")
    wait_until(lambda: noop_calls(host).count("ADD") > 3, 20, "it was tried again")
    network(host, "lan", "10.77.1.0/24", more=[noop()])
    running.wait_event("ADD", container="web")
    assert addresses(host, "web")


def test_hanging_plugin(host: Host, daemon: Start, cli: Cli) -> None:
    """A plugin that hangs is killed after plugin-timeout; other containers do not wait for it."""
    settings(host, cni_bin_dir=BIN_DIRS, plugin_timeout="2s")
    network(host, "lan", "10.77.1.0/24")
    network(host, "slow", "10.77.2.0/24", more=[noop(ADD={"hang": True})])
    running = daemon()
    run(host, "stuck", "--label=dockercni.networks=slow")
    wait_until(lambda: "ADD" in noop_calls(host), 20, "the ADD that hangs")
    run(host, "web")
    running.wait_event("ADD", container="web")
    failed = running.wait_event("ADD failed", container="stuck")
    assert 'plugin "noop" failed (add): not finished after 2 s' in failed["reason"]
    assert running.log().index(failed) > next(
        number for number, event in enumerate(running.log()) if event.get("container") == "web"
    )
    host.docker("rm", "--force", "stuck", "web")
    wait_clean(host)


def test_failing_del(host: Host, daemon: Start, cli: Cli) -> None:
    """When a plugin's DEL fails the others still run; it stays recorded, and is tried again until it works."""
    settings(host, cni_bin_dir=BIN_DIRS)
    network(host, "lan", "10.77.1.0/24", more=[noop(DEL={"wait_for": GATE, "fail": {"msg": "not now"}})])
    running = daemon()
    run(host, "web")
    running.wait_event("ADD", container="web")
    host.write(GATE, "")
    host.docker("rm", "--force", "web")
    failed = running.wait_event("DEL failed", container="web")
    assert "not now" in failed["reason"]
    kinds = {line.split()[0] for line in leftovers(host)}
    assert "lease" not in kinds
    assert "cache" in kinds
    tried = noop_calls(host).count("DEL")
    wait_until(lambda: noop_calls(host).count("DEL") > tried, 20, "it was tried again")
    done = cli("sync")
    assert done.returncode == 4
    assert "not now" in done.stdout
    assert running.stop() == 0
