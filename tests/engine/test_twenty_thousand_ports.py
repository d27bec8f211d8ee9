"""As many published ports as a host is promised to have."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import ask, network, wait_clean
from tests.hosts import IMAGE, NoAnswer, serve_tcp, wait_until

if TYPE_CHECKING:
    from tests.engine.daemons import Cli, Daemon, Start
    from tests.hosts import Host

CONTAINERS, EACH, FIRST = 10, 2000, 10000
LAST = [FIRST + EACH * (number + 1) - 1 for number in range(CONTAINERS)]  # where each of them serves
ADDRESSES = ("127.0.0.1", "fd00:78:1::1")
DUAL = {
    "type": "host-local",
    "ranges": [[{"subnet": "10.78.1.0/24"}], [{"subnet": "fd00:78:1::/64"}]],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
}


def start(host: Host, running: Daemon, number: int) -> float:
    """Start container `number`; how many seconds of the processor its ADD took the daemon."""
    before = processor_time(running)
    ports = f"{LAST[number] - EACH + 1}-{LAST[number]}"
    flags = ("--network=none", f"--publish={ports}:{ports}")
    host.docker("run", "--detach", f"--name=many{number}", *flags, IMAGE, *serve_tcp(LAST[number]), timeout=300)
    running.wait_event("ADD", container=f"many{number}", timeout=120)
    return processor_time(running) - before


def processor_time(running: Daemon) -> float:
    """How many seconds of the processor the daemon has taken so far."""
    with open(f"/proc/{running.program.pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def timed(cli: Cli, *arguments: str) -> tuple[float, int, str]:
    """How many seconds of the processor a command takes, its exit code, and what it prints."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = cli(*arguments, timeout=300)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.returncode, done.stdout


def all_answer(host: Host) -> bool:
    try:
        return all(host.tcp_request(where, port) for port in LAST for where in ADDRESSES)
    except NoAnswer:
        return False


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_thousand_ports(host: Host, daemon: Start, cli: Cli) -> None:
    """Ten containers publish 2,000 ports each in both families: all answer, and nothing of them stays.

    No ADD takes more the more ports there are. Another look at all takes at most ten times what the command takes with
    nothing to look at; so it does after a restart and after the rules were flushed.
    """
    network(host, "lan", "10.78.1.0/24", ipam=DUAL)
    running = daemon()
    nothing, _, _ = timed(cli, "sync")
    took = [start(host, running, number) for number in range(CONTAINERS)]
    assert sum(took[-3:]) < 3 * sum(took[:3]), took
    for port in LAST:
        for where in ADDRESSES:
            assert ask(host, "tcp", where, port), (where, port)
    for command in (("sync", "--dry-run"), ("sync",), ("check",), ("status",), ("gc",)):
        seconds, code, printed = timed(cli, *command)
        assert code == 0, (command, printed)
        assert seconds < 10 * nothing, (command, seconds, nothing)
    assert running.stop() == 0
    again = daemon()
    wait_until(lambda: cli("status", "--probe").returncode == 0, 60, "the probe")
    assert all_answer(host)
    assert not [event for event in again.log() if event["event"] in {"ADD", "DEL", "REPAIR"}]
    assert processor_time(again) < 20 * nothing
    host.run("nft", "flush", "ruleset")
    wait_until(lambda: all_answer(host), 120, "all ports after a flush")
    host.docker("rm", "--force", *(f"many{number}" for number in range(CONTAINERS)), timeout=300)
    wait_clean(host, 120)
    listed = host.run("nft", "list", "table", "inet", "dockercni").stdout
    assert "eth0 lan" not in listed
    wait_until(lambda: len(os.listdir(f"/proc/{again.program.pid}/fd")) < 200, 20, "the end of the reservations")
