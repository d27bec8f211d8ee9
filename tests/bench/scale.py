"""Crowds: real namespaces and attachments, and an engine that is simulated; and what a daemon costs."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.bench.samples import Figure, Report
from tests.engine.daemons import Daemon, family, run_cli, start_daemon
from tests.hosts import IMAGE, Host, import_image, wait_until
from tests.unit.docker.fake import INFO, SILENCE, VERSION, Answer, fake_engine

SIZES = (100, 500, 1000)
ATTACHED = 200
RESYNCS = 5
REST = 60.0  # seconds
SOCKET = "/run/private/engine.sock"
ENGINE = f"--docker-host=unix://{SOCKET}"
FAR = "--resync-interval=1h"
IMAGE_ID = f"sha256:{'0' * 64}"
STARTED = "2026-01-01T00:00:00.000000000Z"
_TICKS = os.sysconf("SC_CLK_TCK")


def resync(report: Report, runs: int) -> None:
    """`sync` with nothing to do, and the daemon's start, over more and more attached containers."""
    with Host() as host:
        _networks(host)
        with ExitStack() as crowd:
            members: list[int] = []
            for size in SIZES:
                members += crowd.enter_context(_namespaces(host, size - len(members)))
                with _engine(host, members):
                    run_cli(host, "sync", ENGINE, check=True, timeout=600)  # attaches the new ones
                    for _ in range(min(runs, RESYNCS)):
                        began = time.perf_counter()
                        run_cli(host, "sync", ENGINE, check=True, timeout=600)
                        report.add(f"sync, {size} attached", "dockercni", (time.perf_counter() - began) * 1e3)
                        report.add(f"boot resync, {size} attached", "dockercni", _boot(host))
            report.figures.append(_seconds(report, f"sync, {SIZES[-1]} attached", 2))
            report.figures.append(_seconds(report, f"boot resync, {SIZES[-1]} attached", 2))
            most = SIZES[-1] / SIZES[0]
            for what in ("sync", "boot resync"):
                report.grow(f"{what}, {SIZES[-1]} attached", "dockercni", f"{what}, {SIZES[0]} attached", most)


def costs(report: Report, runs: int) -> None:
    """Memory and CPU of daemon, gate and helper, at rest and with a crowd, on a real engine."""
    with Host() as host:
        host.start_engine()
        import_image(host)
        _networks(host)
        daemon = start_daemon(host, FAR)
        daemon.wait_event("ready")
        report.figures.append(Figure("resident at rest", _resident(daemon), "MiB", 60))
        before = _cpu(daemon)
        names = [f"one{number}" for number in range(ATTACHED)]
        for name in names:
            host.docker("run", "--detach", f"--name={name}", "--network=none", IMAGE)
        wait_until(lambda: _adds(daemon) == ATTACHED, 60, "all attachments", lambda: _adds(daemon))
        report.figures.append(
            Figure("CPU for each attachment", (_cpu(daemon) - before) / ATTACHED * 1e3, "ms", 100),
        )
        report.figures.append(Figure(f"resident with {ATTACHED} attached", _resident(daemon), "MiB", 60))
        before = _cpu(daemon)
        time.sleep(REST)
        report.figures.append(Figure("CPU at rest, over a minute", (_cpu(daemon) - before) / REST * 100, "%", 0.2))


def _adds(daemon: Daemon) -> int:
    return sum(event["event"] == "ADD" for event in daemon.log())


def _networks(host: Host) -> None:
    """Three, since a bridge has room for 1,023 ports."""
    for number in range(3):
        ipam = {"type": "host-local", "ranges": [[{"subnet": f"10.{20 + number}.0.0/16"}]]}
        bridge = {"type": "bridge", "bridge": f"cni{number}", "isGateway": True, "ipMasq": True, "ipam": ipam}
        conf = {"cniVersion": "1.0.0", "name": f"net{number}", "plugins": [bridge, {"type": "firewall"}]}
        host.write(f"/etc/cni/net.d/1{number}-net.conflist", json.dumps(conf))


@contextmanager
def _namespaces(host: Host, count: int) -> Iterator[list[int]]:
    """So many processes, each in a network namespace of its own."""
    made = [
        subprocess.Popen([*host.entry, "unshare", "--net", "sleep", "86400"], env=host.env, start_new_session=True)
        for _ in range(count)
    ]
    try:
        own = os.stat(f"/proc/{host.holder.pid}/ns/net").st_ino if host.holder else 0
        wait_until(lambda: all(_is_apart(one.pid, own) for one in made), 120, "the namespaces")
        yield [one.pid for one in made]
    finally:
        for one in made:
            one.kill()
        for one in made:
            one.wait()


def _is_apart(pid: int, own: int) -> bool:
    return os.stat(f"/proc/{pid}/ns/net").st_ino not in {own, os.stat("/proc/self/ns/net").st_ino}


@contextmanager
def _engine(host: Host, pids: list[int]) -> Iterator[str]:
    """Answers as if those processes were containers."""
    listed: list[dict[str, Any]] = []
    answers: dict[str, Answer] = {"/version": VERSION, "/info": INFO, "/events": SILENCE}
    for number, pid in enumerate(pids):
        container_id = f"{number:064x}"
        names = {"HostConfig": {"NetworkMode": "none"}, "Id": container_id, "Image": IMAGE_ID}
        listed.append({**names, "Names": [f"/one{number}"]})
        answers[f"/containers/{container_id}/json"] = {
            **names,
            "Name": f"/one{number}",
            "State": {"Running": True, "Pid": pid, "StartedAt": STARTED},
            "Config": {"Labels": {"dockercni.networks": f"net{number % 3}"}},
        }
    answers["/containers/json"] = listed
    answers[f"/images/{IMAGE_ID}/json"] = {"Config": None}
    path = host.path(SOCKET)
    path.unlink(missing_ok=True)
    with fake_engine(path, answers) as url:
        yield url


def _boot(host: Host) -> float:
    """Milliseconds from the daemon's start until it has looked at all; its pulse says so."""
    began = time.perf_counter()
    daemon = start_daemon(host, ENGINE, FAR, "--attach-running", "--hold=off")
    status = host.path("/run/dockercni/status.json")

    def looked() -> bool:
        if not daemon.program.running:
            raise RuntimeError(daemon.program.text())
        try:
            pulse = json.loads(status.read_text())
        except (OSError, ValueError):
            return False
        return bool(pulse["pid"] == daemon.program.pid and pulse["looked_at_all"] and not pulse["busy"])

    wait_until(looked, 120, "the look at all", daemon.program.text)
    took = (time.perf_counter() - began) * 1e3
    daemon.stop()
    return took


def _seconds(report: Report, what: str, bound: float) -> Figure:
    return Figure(what, report.samples[what, "dockercni"].median / 1e3, "s", bound)


def _resident(daemon: Daemon) -> float:
    """MiB that are resident in daemon, gate and helper; what they share, of interpreter and libraries, counted once."""
    first, *others = map(_memory, family(daemon.program.pid))
    return (first["Rss"] + sum(one["Private_Clean"] + one["Private_Dirty"] for one in others)) / 1024


def _memory(pid: int) -> dict[str, int]:
    """KiB by their kind."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return {line.split(":")[0]: int(line.split()[1]) for line in file if line.endswith(" kB\n")}


def _cpu(daemon: Daemon) -> float:
    """Seconds of CPU so far, of children that have ended, too."""
    ticks = 0
    for pid in family(daemon.program.pid):
        with open(f"/proc/{pid}/stat", "rb") as file:
            ticks += sum(map(int, file.read().rpartition(b")")[2].split()[11:15]))
    return ticks / _TICKS
