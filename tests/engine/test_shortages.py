"""What the machine lacks for a while costs that while: no process, no room in /run, a thread that was ended."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import addresses, run, wait_attached, wait_clean
from tests.engine.daemons import Daemon, environment
from tests.engine.probes import PROBE
from tests.hosts import IMAGE, wait_until
from tests.hosts.cgroups import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host

# Ends the threads whose names stand in a file, one a line, by an exception that nothing expects: until it is noticed,
# since one that arrives in the middle of a callback is lost.
ENDING = """
import ctypes, runpy, sys, threading, time
def end(path):
    done = set()  # once is enough: a thread that waits gets it when it wakes, and a second one would end the process
    while True:
        time.sleep(0.02)
        try:
            names = set(open(path).read().split()) - done
        except OSError:
            continue
        for thread in threading.enumerate():
            if thread.name in names:
                done.add(thread.name)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(MemoryError))
threading.Thread(target=end, args=(sys.argv[1],), daemon=True).start()
sys.argv[:] = ["dockercni", "daemon"]
runpy.run_module("dockercni", run_name="__main__", alter_sys=True)
"""
NAMES = "/run/private/threads"
FIRST_RESERVED = 1024  # from there on descriptors hold ports, out of the way of select()


@pytest.fixture
def pids(host: Host) -> Iterator[Callable[[Daemon], Path]]:
    """Put a daemon into a cgroup of its own, whose limit on processes can be set: its directory."""
    places = [ROOT / "pids", ROOT]
    top = next((place for place in places if (place / "cgroup.procs").exists()), None)
    if top is None or (top == ROOT and "pids" not in (ROOT / "cgroup.subtree_control").read_text()):
        pytest.skip("needs a controller of pids")
    directory = top / f"{host.name}-pids"
    directory.mkdir()

    def enter(daemon: Daemon) -> Path:
        found = [*Path("/proc").glob(f"{daemon.program.pid}/task/*/children")]
        children = [pid for path in found for pid in path.read_text().split()]
        (directory / "cgroup.procs").write_text(str(daemon.program.pid))
        for pid in children:
            with contextlib.suppress(OSError):  # a plugin that has just ended
                (directory / "cgroup.procs").write_text(pid)
        return directory

    yield enter
    (directory / "pids.max").write_text("max")
    for pid in (directory / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):
            (directory.parent / "cgroup.procs").write_text(pid)
    wait_until(lambda: not (directory / "cgroup.procs").read_text(), 10, "an empty cgroup")
    directory.rmdir()


@pytest.mark.parametrize("flags", [(), ("--on-failure=stop",)], ids=["leave", "stop"])
def test_the_pids_limit_is_reached(
    host: Host, daemon: Start, cli: Cli, pids: Callable[[Daemon], Path], flags: tuple[str, ...]
) -> None:
    """While no thread can be started a container stands at its execve; once there can, it begins with its network."""
    one = daemon(*flags, "--hold=60s")
    run(host, "before")
    one.wait_event("released", container="before")
    cgroup = pids(one)
    (cgroup / "pids.max").write_text((cgroup / "pids.current").read_text())
    run(host, "web", command=PROBE)
    host.docker("rm", "--force", "before")
    one.wait_event("work waits")
    assert cli("status", "--probe").returncode == 0
    said = host.docker("logs", "web")
    assert not said or "inet " in said  # a thread that had nothing to do may have served it
    (cgroup / "pids.max").write_text("max")
    wait_until(lambda: "inet " in host.docker("logs", "web"), 10, "the first instruction", one.program.text)
    assert not [event for event in one.log() if event["event"] == "thread ended"]
    host.docker("rm", "--force", "web")
    wait_clean(host)


@pytest.mark.parametrize("backend", ["builtin", "exec"])
def test_the_pids_limit_is_reached_in_the_middle(
    host: Host, daemon: Start, pids: Callable[[Daemon], Path], backend: str
) -> None:
    """However many threads there can be, what is begun ends well: the work is tried again until all is attached."""
    one = daemon("--hold=60s", f"--backend={backend}")
    cgroup = pids(one)
    there = int((cgroup / "pids.current").read_text())
    for room in (1, 2, 3):
        (cgroup / "pids.max").write_text(str(there + room))
        for number in range(3):
            run(host, f"c{room}{number}", command=PROBE)
    (cgroup / "pids.max").write_text("max")
    for room in (1, 2, 3):
        for number in range(3):
            name = f"c{room}{number}"
            wait_until(lambda name=name: "inet " in host.docker("logs", name), 20, f"the address of {name}")  # type: ignore[misc]
    assert not [event for event in one.log() if event["event"] == "thread ended"]
    assert {event.get("event") for event in one.log()} <= {event["event"] for event in one.log() if "schema" in event}


@pytest.mark.parametrize("room", [3, 6, 9, 14])
def test_no_descriptor_is_left(host: Host, cli: Cli, daemon: Start, room: int) -> None:
    """While the daemon has few descriptors left a held container waits, whatever they are missing for; afterwards it
    has its network, and its traffic passes."""
    one = daemon("--hold=60s")
    run(host, "before")
    one.wait_event("released", container="before")
    pid = one.program.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = max(number for name in os.listdir(f"/proc/{pid}/fd") if (number := int(name)) < FIRST_RESERVED)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 1 + room, limits[1]))
    run(host, "web", "--publish=8080:80", command=("sh", "-c", f"{' '.join(PROBE)}; exec sleep 86400"))
    host.docker("rm", "--force", "before")
    with contextlib.suppress(TimeoutError):
        wait_until(lambda: host.docker("logs", "web"), 3, "more than there is room for")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    wait_until(lambda: "inet " in host.docker("logs", "web"), 20, "the first instruction", one.program.text)
    assert not [event for event in one.log() if event["event"] == "thread ended"]
    assert "-i dockercni0" in host.run("iptables", "-S", "DOCKERCNI-FORWARD").stdout
    host.docker("rm", "--force", "web")
    wait_clean(host)
    wait_until(lambda: cli("status", "--probe").returncode == 0, 20, "a sound daemon")


def test_run_is_full(host: Host, daemon: Start, cli: Cli) -> None:
    """ADD, DEL and the probe need no room in /run but that for a name; one warning tells of it each time it is full."""
    one = daemon()
    for name in ("before", "other"):
        run(host, name)
        wait_attached(host, name)
    host.path("/run/dockercni/forward.lock").unlink()  # as on a host where nothing was attached yet
    with _full(host) as fill:
        assert cli("status", "--probe").returncode == 0
        host.docker("rm", "--force", "before")
        one.wait_event("DEL", container="before")
        fill()  # the engine gave room back
        # the engine itself can start no container now
        assert "DEL other" in cli("del", "other", check=True).stdout
        assert cli("sync", "other").returncode == 0
        assert addresses(host, "other") != []
        fill()
        one.wait_event("heartbeat not written")
        wait_until(lambda: _age(cli) < 5, 30, "another beat in the room of the last one")
        assert cli("status", "--probe").returncode == 0
    run(host, "after")
    wait_attached(host, "after")
    times = 3  # a beat may have found the room that the engine gave back
    assert 1 <= len([event for event in one.log() if event["event"] == "heartbeat not written"]) <= times
    assert not [event for event in one.log() if "Traceback" in json.dumps(event)]


def _age(cli: Cli) -> float:
    found: float = json.loads(cli("status", "-o", "json").stdout)["daemon"]["pulse"]["age"]
    return found


@contextlib.contextmanager
def _full(host: Host) -> Iterator[Callable[[], None]]:
    """No room in the file system of /run; yields what takes the room that has become free since."""
    path = host.path("/run/private/fill")

    def fill() -> None:
        for size in (1 << 16, 1):
            with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass

    host.run("mount", "-o", "remount,size=64m", "/run")
    try:
        fill()
        yield fill
    finally:
        path.unlink()
        host.run("mount", "-o", "remount,size=0", "/run")


@pytest.mark.parametrize("thread", ["queue", "watch", "gate", "rules", "heartbeat", "freed", "links"])
def test_a_thread_ends(host: Host, cli: Cli, thread: str, request: pytest.FixtureRequest) -> None:
    """Whichever of its long-lived threads ends, the daemon says so and starts it anew, and serves as before."""
    names = host.path(NAMES)
    names.unlink(missing_ok=True)
    env = environment() | {"DOCKERCNI_LOG_FORMAT": "json"}
    one = Daemon(host.popen(sys.executable, "-c", ENDING, NAMES, env=env))
    request.addfinalizer(one.kill)
    one.wait_event("ready")
    run(host, "before")
    wait_attached(host, "before")
    names.write_text(thread)
    host.run("nft", "add", "table", "inet", "stir", check=False)
    host.run("nft", "delete", "table", "inet", "stir", check=False)
    host.write("/etc/cni/net.d/stir", "")
    run(host, "stir", "--label=dockercni.enable=false")
    run(host, "meanwhile")
    one.wait_event("thread ended", thread=thread)
    names.unlink()
    one.wait_event("thread started anew", thread=thread)
    wait_until(lambda: cli("status", "--probe").returncode == 0, 40, "a sound daemon")
    assert "inet " in host.docker("run", "--rm", "--network=none", IMAGE, *PROBE)
    host.docker("rm", "--force", "before", "meanwhile", "stir")
    wait_clean(host)
    assert one.stop() == 0
