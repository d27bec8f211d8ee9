"""What starts while no daemon runs is found and held all the same, and the next daemon serves it."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engine import restarting
from tests.engine.probes import BIN_DIR, PROBE, configure, sees_address
from tests.hosts import IMAGE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engine.daemons import Cli, Daemon
    from tests.hosts import Host

    Start = Callable[..., Daemon]

SOCKET = "/run/dockercni/gate.sock"


def gates(host: Host) -> list[int]:
    """The gate that daemons of this host find, if there is one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
        try:
            link.connect(str(host.path(SOCKET)))
        except OSError:
            return []
        return [int.from_bytes(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], sys.byteorder)]


def tracer(host: Host, name: str = "one") -> int:
    """Who holds the container, 0 if nobody does."""
    pid = int(host.docker("inspect", "--format={{.State.Pid}}", name) or 0)
    text = Path(f"/proc/{pid}/status").read_text() if pid else ""
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("TracerPid")), 0)


def begin(host: Host, *flags: str) -> None:
    """Run container "one", which says so when it executes its program."""
    command = ("sh", "-c", f"{' '.join(PROBE)}; echo executed; exec sleep 86400")
    host.docker("run", "--detach", "--name=one", "--network=none", *flags, IMAGE, *command)


def wait_executed(host: Host) -> str:
    """What it said by then."""
    wait_until(lambda: "executed" in host.docker("logs", "one"), 20, "its first words")
    return host.docker("logs", "one")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_held_by_nobody_yet(host: Host, daemon: Start, number: signal.Signals) -> None:
    """What starts between two daemons stands still until the second one has served it, with its network."""
    one = daemon("--hold=60s")
    assert sees_address(host)
    os.kill(one.program.pid, number)
    wait_until(lambda: not one.program.running, 20, "its end")
    begin(host)
    wait_until(lambda: tracer(host), 10, "the hold")
    two = daemon("--hold=60s")
    assert "inet " in wait_executed(host)
    assert two.wait_event("released")["reason"] == "go"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_held_already(host: Host, daemon: Start, number: signal.Signals) -> None:
    """What a daemon holds stays held when that ends, and the next one serves it and lets it go."""
    host.path("/run/private/go").unlink(missing_ok=True)
    configure(host, ADD={"wait_for": "/run/private/go"})
    one = daemon(BIN_DIR, "--hold=60s")
    begin(host)
    wait_until(lambda: tracer(host), 10, "the hold")
    holder = tracer(host)
    os.kill(one.program.pid, number)
    host.write("/run/private/go", "")
    wait_until(lambda: not one.program.running, 40, "its end")
    assert tracer(host) in {0, holder}
    daemon(BIN_DIR, "--hold=60s")
    assert "inet " in wait_executed(host)


def test_sync_without_a_daemon(host: Host, daemon: Start, cli: Cli) -> None:
    """What is held while no daemon runs is let go by the sync that attaches it."""
    daemon("--hold=60s").kill()
    begin(host)
    wait_until(lambda: tracer(host), 10, "the hold")
    cli("sync", check=True)
    assert "inet " in wait_executed(host)


def test_no_daemon_comes(host: Host, daemon: Start) -> None:
    """Without another daemon a container runs at its limit, the gate ends, and nothing holds what starts afterwards."""
    daemon("--hold=2s").kill()
    begin(host)
    assert "inet " not in wait_executed(host)
    wait_until(lambda: not gates(host), 30, "the gate's end")
    assert not host.path(SOCKET).exists()
    host.docker("rm", "--force", "one")
    begin(host)
    assert "inet " not in wait_executed(host)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_gate_killed_or_stopped(host: Host, daemon: Start, number: signal.Signals) -> None:
    """When the gate is killed or hangs, what it held runs, the daemon says so, and the next container is held again."""
    host.path("/run/private/go").unlink(missing_ok=True)
    configure(host, ADD={"wait_for": "/run/private/go"})
    one = daemon(BIN_DIR, "--hold=60s")
    begin(host)
    wait_until(lambda: tracer(host), 10, "the hold")
    wait_until(lambda: len(gates(host)) == 1, 20, "the end of the gate of an earlier test")
    (gate,) = gates(host)
    os.kill(gate, number)
    wait_executed(host)
    one.wait_event("thread ended", thread="gate")
    host.write("/run/private/go", "")
    one.wait_event("thread started anew", thread="gate")
    configure(host, ADD={"sleep": 1})
    wait_until(lambda: len(gates(host)) == 1 and gates(host) != [gate], 20, "another gate")
    wait_until(lambda: sees_address(host), 20, "a container that is held")


def test_gate_of_the_daemon_before(host: Host, daemon: Start, cli: Cli) -> None:
    """A daemon takes over the gate that it finds, also one that hangs by then; uninstall ends it."""
    one = daemon()
    wait_until(lambda: len(gates(host)) == 1, 20, "the end of the gate of an earlier test")
    (gate,) = gates(host)
    assert one.stop() == 0
    two = daemon()
    assert gates(host) == [gate]
    os.kill(gate, signal.SIGSTOP)
    two.kill()
    three = daemon()
    wait_until(lambda: gate not in gates(host) and len(gates(host)) == 1, 30, "another gate")
    wait_until(lambda: sees_address(host), 20, "a container that is held")
    three.stop()
    assert cli("uninstall").returncode == 0
    wait_until(lambda: not gates(host), 5, "no gate")


def test_only_root_can_talk_to_it(host: Host, daemon: Start) -> None:
    """The gate's socket lies where only root may enter, and is only root's."""
    daemon()
    status = host.path(SOCKET).lstat()
    assert (status.st_uid, oct(status.st_mode & 0o777)) == (0, "0o600")
    nobody = host.run("setpriv", "--reuid=65534", "--clear-groups", "stat", SOCKET, check=False)
    assert nobody.returncode != 0


def test_restarts(host: Host, daemon: Start) -> None:
    """All that start while the daemon is restarted three times and killed once are ready at their first instruction."""
    assert restarting.ready(host, lambda: daemon(wait=False), 20) == 20
