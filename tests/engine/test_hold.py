"""A container that is held behaves as one that is not, and nothing that happens meanwhile is felt."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engine.daemons import family
from tests.engine.probes import BIN_DIR, PROBE, configure, sees_address
from tests.hosts import IMAGE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engine.daemons import Daemon
    from tests.hosts import Host

STATUS = ("grep", "-E", "^(Uid|Gid|NoNewPrivs|Seccomp|CapEff|SigBlk|SigIgn|TracerPid):", "/proc/self/status")
CASES = {
    "exit code": ((), ("sh", "-c", "exit 7")),
    "status": ((), STATUS),
    "user": (("--user=65534:65534",), STATUS),
    "setuid": (("--user=65534:65534", "--volume=/usr:/usr:ro", "--volume=/run/private/suid:/suid:ro"), ("/suid/id",)),
    "no setuid": (
        (
            "--user=65534",
            "--security-opt=no-new-privileges",
            "--volume=/usr:/usr:ro",
            "--volume=/run/private/suid:/suid:ro",
        ),
        ("/suid/id",),
    ),
    "no-new-privileges": (("--security-opt=no-new-privileges",), STATUS),
    "no seccomp": (("--security-opt=seccomp=unconfined",), STATUS),
    "no capabilities": (("--cap-drop=ALL",), STATUS),
    "more capabilities": (("--cap-add=NET_ADMIN", "--cap-add=SYS_PTRACE"), STATUS),
    "init": (("--init",), ("sh", "-c", "cat /proc/1/comm; exit 3")),
    "signal": (("--init",), ("sh", "-c", "kill -USR1 $$")),
    "terminal": (("--tty",), ("sh", "-c", "tty; exit 4")),
    "read-only": (("--read-only",), ("sh", "-c", "echo x > /x")),
    "host pids": (("--pid=host",), ("sh", "-c", "[ $$ -gt 1 ] && echo others")),
    "script": (("--volume=/run/private/script:/script:ro",), ("/script", "a", "b")),
    "arguments": (
        ("--env=A=B", "--workdir=/tmp", "--hostname=h"),
        ("sh", "-c", "pwd; echo $A $0 $1; hostname", "x", "y"),
    ),
    "no such program": ((), ("/no/such/program",)),
}


@pytest.fixture(scope="module")
def programs(host: Host) -> None:
    """What the cases run: a set-user-id program, and a script."""
    host.write("/run/private/script", '#!/bin/sh\necho "$0 $@"\n')
    host.path("/run/private/script").chmod(0o755)
    host.path("/run/private/suid").mkdir(exist_ok=True)  # the fixture may come twice in one worker
    shutil.copy("/usr/bin/id", host.path("/run/private/suid/id"))
    host.path("/run/private/suid/id").chmod(0o4755)


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("case", CASES)
def test_same_as_without(host: Host, daemon: Callable[..., Daemon], case: str) -> None:
    """Exit code, output and errors are those of the same container without dockercni."""
    flags, command = CASES[case]
    argv = ("docker", "run", "--rm", "--network=none", *flags, IMAGE, *command)
    without = host.run(*argv, check=False)
    configure(host, ADD={"sleep": 1})
    one = daemon(BIN_DIR)
    held = host.run(*argv, check=False)
    assert (held.returncode, held.stdout, held.stderr) == (without.returncode, without.stdout, without.stderr)
    if case != "no such program":
        assert one.wait_event("released")["ms"] > 10


def test_interactive(host: Host, daemon: Callable[..., Daemon]) -> None:
    """What is typed at a terminal while the entrypoint is held reaches it, and all looks as without us."""
    shell = 'read word; echo "got $word"; stty size; tty; exit 5'
    inside = f"docker run --rm --interactive --tty --network=none {IMAGE} sh -c {shlex.quote(shell)}"
    argv = ("sh", "-c", f"echo typed | script --quiet --return --command {shlex.quote(inside)} /dev/null")
    without = host.run(*argv, check=False)
    assert (without.returncode, "got typed" in without.stdout) == (5, True), without.stdout
    configure(host, ADD={"sleep": 1})
    one = daemon(BIN_DIR)
    held = host.run(*argv, check=False)
    assert (held.returncode, held.stdout) == (without.returncode, without.stdout)
    assert one.wait_event("released")["ms"] > 10


def test_health_check(host: Host, daemon: Callable[..., Daemon]) -> None:
    """A container with a health check becomes healthy, be it held at first."""
    configure(host, ADD={"sleep": 1})
    one = daemon(BIN_DIR)
    check = ("--health-cmd=ip addr show dev eth0 && test -e /begun", "--health-interval=1s", "--health-retries=20")
    command = ("sh", "-c", "touch /begun; exec sleep 86400")
    host.docker("run", "--detach", "--name=one", "--network=none", *check, IMAGE, *command)
    health = "--format={{.State.Health.Status}}"
    wait_until(lambda: host.docker("inspect", health, "one") == "healthy", 30, "health")
    assert one.wait_event("released")["ms"] > 10


@pytest.fixture
def held(host: Host, daemon: Callable[..., Daemon]) -> Callable[..., Daemon]:
    """Start a daemon and a container "one" whose entrypoint is held until /run/private/go exists."""
    host.path("/run/private/go").unlink(missing_ok=True)

    def start(*flags: str) -> Daemon:
        configure(host, ADD={"wait_for": "/run/private/go"})
        one = daemon(BIN_DIR, *flags)
        host.docker(
            "run", "--detach", "--name=one", "--network=none", IMAGE, "sh", "-c", "echo executed; exec sleep 86400"
        )
        wait_until(lambda: _state(host) == "t", 10, "the hold", lambda: _state(host))
        return one

    return start


def test_docker_run_returns(host: Host, held: Callable[..., Daemon]) -> None:
    """`docker run -d` returns while the entrypoint is held, which runs when the network is there."""
    held()
    assert host.docker("logs", "one") == ""
    host.write("/run/private/go", "")
    _wait_executed(host)
    assert "inet " in host.docker("exec", "one", *PROBE)


@pytest.mark.parametrize(
    "command",
    [
        ("kill", "one"),
        ("rm", "--force", "one"),
        ("stop", "--time=1", "one"),
        ("exec", "one", "true"),
        ("restart", "--time=1", "one"),
    ],
)
def test_docker_commands_return(host: Host, held: Callable[..., Daemon], command: tuple[str, ...]) -> None:
    """What is asked of a container that is held is done as fast as ever."""
    held()
    began = time.monotonic()
    host.docker(*command)
    assert time.monotonic() - began < 4
    host.write("/run/private/go", "")


def test_limit(host: Host, held: Callable[..., Daemon]) -> None:
    """At the limit it runs without its network, which comes later."""
    one = held("--hold=2s")
    _wait_executed(host)
    event = one.wait_event("released", level="warning")
    assert event["reason"] == "limit"
    host.write("/run/private/go", "")
    one.wait_event("ADD", container="one")


def test_daemon_killed(host: Host, held: Callable[..., Daemon]) -> None:
    """When the daemon is killed, and no other one comes, the container runs at the limit."""
    one = held("--hold=3s")
    one.kill()
    _wait_executed(host)


def test_daemon_stopped(host: Host, held: Callable[..., Daemon]) -> None:
    """When the daemon hangs, the container runs at the limit, and `docker kill` returns at once."""
    one = held("--hold=3s")
    os.kill(one.program.pid, signal.SIGSTOP)
    _wait_executed(host)
    began = time.monotonic()
    host.docker("kill", "one")
    assert time.monotonic() - began < 4
    os.kill(one.program.pid, signal.SIGCONT)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_helper_killed_or_stopped(host: Host, held: Callable[..., Daemon], number: signal.Signals) -> None:
    """When the helper is killed or hangs, the container runs, `docker kill` returns, and the next one is held again."""
    one = held()
    helper = _tracer(host)
    gate = _parent(helper)
    os.kill(helper, number)
    began = time.monotonic()
    host.docker("kill", "one")
    assert time.monotonic() - began < 9  # a helper that hangs is noticed after 6 s
    wait_until(lambda: not Path(f"/proc/{helper}").exists(), 5, "the helper's end, reaped")
    wait_until(lambda: len(family(gate)) > 1, 5, "another helper")
    host.docker("rm", "one")
    host.write("/run/private/go", "")
    configure(host, ADD={"sleep": 1})
    assert sees_address(host)
    assert one.program.running


def test_no_zombies(host: Host, daemon: Callable[..., Daemon]) -> None:
    """Daemon and helper leave no zombies, and keep no descriptors, however many containers they held."""
    one = daemon()
    assert sees_address(host)

    def descriptors() -> int:
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in family(one.program.pid))

    before = descriptors()
    for _ in range(10):
        assert sees_address(host)
    wait_until(lambda: not [pid for pid in family(one.program.pid) if _stat(pid) == "Z"], 5, "no zombies")
    wait_until(lambda: descriptors() <= before + 4, 10, "as many descriptors as before", descriptors)


def _pid(host: Host) -> int:
    return int(host.docker("inspect", "--format={{.State.Pid}}", "one") or 0)


def _stat(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _state(host: Host) -> str:
    return _stat(_pid(host))


def _tracer(host: Host) -> int:
    return _status(_pid(host), "TracerPid")


def _parent(pid: int) -> int:
    return _status(pid, "PPid")


def _status(pid: int, key: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{key}:")))


def _wait_executed(host: Host) -> None:
    wait_until(lambda: host.docker("logs", "one") == "executed", 10, "its first words", lambda: _state(host))
