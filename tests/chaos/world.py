"""A host under chaos: carries out the steps of a plan, and brings the host to rest."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos import orders, proxy
from tests.chaos.damage import Claimant, Crowded, break_host, close_port
from tests.chaos.neighbours import move_in
from tests.chaos.plan import FLUSHES, Step
from tests.chaos.wanted import NETWORKS, Wanted, configure
from tests.engine.daemons import Daemon, environment, run_cli
from tests.hosts import Host, Outside, import_image, wait_until, wipe
from tests.hosts.commands import CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

BOUND = 40  # seconds that SIGTERM may take: what is under way is drained for 20
STATE = ("/var/lib/cni", "/var/lib/dockercni")
SETTINGS = f"""
cni-bin-dir = "{orders.SEARCH}"
plugin-timeout = "8s"
attach-running = true
log-format = "json"
"""


class World:
    """One host, its containers and a daemon behind a proxy. Every kind of step is a method of the same name."""

    def __init__(self, population: Mapping[str, Wanted], backend: str = "exec") -> None:
        self.backend = backend  # of the first daemon
        self.population = population
        self.host = Host()
        self.host.start_engine()
        import_image(self.host)
        self.outside = Outside(self.host)
        self.orders = orders.Orders(self.host)
        self.proxy = proxy.Proxy(self.host)
        self.pool = ThreadPoolExecutor(4)
        self.under_way: list[Future[None]] = []
        self.crowded = Crowded(self.host)
        self.claimants: list[Claimant] = []
        self.daemon: Daemon | None = None
        self.grievances: list[str] = []  # what was seen to be wrong before anybody asked
        self.settle()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.close()
        self.pool.shutdown(cancel_futures=True)
        self.outside.close()
        self.host.close()

    @property
    def wanted(self) -> dict[str, Wanted]:
        """What each container is to have, under each name that it may bear."""
        return {**self.population, **{_other_name(name): want for name, want in self.population.items()}}

    def settle(self) -> None:
        """Begin (again): networks and settings in place, the daemon running, and nothing else."""
        if self.daemon:
            self.daemon.kill()
            self.orders.withdraw()
        self.free(Step("free"))
        wait_until(self._engine_answers, 60, "an engine that answers")
        if self.host.docker("ps", "--all", "--quiet"):
            self._remove_all()
            self.host.stop_engine()  # it puts its own rules back
            self.host.start_engine()
            self._remove_all()  # 20.10 cannot remove those whose end it missed before it was started anew
        self.host.run("iptables", "-F", "DOCKER-USER", check=False)
        wipe(self.host)
        configure(self.host)
        self.host.write("/etc/dockercni/dockercni.toml", SETTINGS)
        self.neighbours = move_in(self.host, rules=False)
        self.daemon = None
        self.daemon_start(Step("daemon_start"))

    def _remove_all(self) -> None:
        if left := self.host.docker("ps", "--all", "--quiet").split():
            self.host.docker("rm", "--force", "--volumes", *left, check=False)

    def carry_out(self, step: Step) -> None:
        """Do it: what the engine does, beside the others, so that faults hit in the middle of it."""
        threading.Event().wait(step.delay)  # not for anything to happen, but to hit at different moments
        work = getattr(self, step.kind, None)
        if work:
            work(step)
        else:
            self.under_way.append(self.pool.submit(self._docker, step))

    def quiesce(self) -> None:
        """Let everything that was begun come to its end, and end every fault that lasts."""
        self._join()
        self.orders.withdraw()
        self.proxy.silent = False
        self.free(Step("free"))
        self.part(Step("part"))
        wait_until(self._engine_answers, 60, "an engine that answers")
        claimants, self.claimants = self.claimants, []
        for claimant in claimants:
            if links := claimant.close():
                self.grievances.append(f"claim: a stranger was given {', '.join(links)}")
        wait_until(self._unpaused, 60, "no paused containers")
        # an engine that starts while packets are forwarded already leaves the policy as it is
        self.host.run("/bin/sh", "-c", "! iptables -S DOCKER-USER >/dev/null 2>&1 || iptables -P FORWARD DROP")
        if self._lost():  # the engine hears of no end while its containerd is gone, until it is started anew
            self.host.stop_engine()
            self.host.start_engine()
        try:
            wait_until(self._steady, 60, "containers that restart")
        except TimeoutError:
            # Docker 20.10 that was killed while a container restarted may wait for that container's end for ever: it
            # neither starts, stops nor kills it. Only with a new containerd is it over.
            self.host.engine.kill(containerd=True)
            self.host.start_engine()
            wait_until(self._steady, 60, "containers that restart")

    def sync(self) -> subprocess.CompletedProcess[str]:
        """One `dockercni sync`."""
        return run_cli(self.host, "sync", check=False, timeout=110)

    def _engine_answers(self) -> bool:
        """Whether it does; one that has ended, as after the end of its containerd it may, is started anew."""
        if not self.host.engine.running:
            self.host.start_engine()
        return self.host.run("docker", "version", check=False).returncode == 0

    def _lost(self) -> bool:
        """Whether the engine says of a container without a process that it is running."""
        ids = self.host.docker("ps", "--quiet").split()
        pids = self.host.docker("inspect", "--format={{.State.Pid}}", *ids).split() if ids else []
        return not all(Path(f"/proc/{pid}").exists() for pid in pids)

    def _unpaused(self) -> bool:
        """Whether no container is paused any more; its containerd may be away still."""
        if paused := self.host.docker("ps", "--quiet", "--filter=status=paused").split():
            self.host.docker("unpause", *paused, check=False)
        return not paused

    def _steady(self) -> bool:
        return not self.host.docker("ps", "--quiet", "--filter=status=restarting")

    def _join(self) -> None:
        _, late = wait(self.under_way, 90)
        assert not late, "the engine does not answer"
        self.under_way.clear()

    # what is done to containers

    def _docker(self, step: Step) -> None:
        with contextlib.suppress(CommandError):  # the engine may be gone, or the container in another state
            self._do(step, step.target)
            self._do(step, _other_name(step.target))

    def _do(self, step: Step, name: str) -> None:
        docker = self.host.docker
        match step.kind:
            case "run" if name == step.target:
                if not docker("ps", "--all", "--quiet", f"--filter=name=^{_other_name(name)}$", check=False):
                    self.population[name].run(self.host, name, check=False)
            case "remove":
                docker("rm", "--force", name, check=False)
            case "rename" if name == step.target:
                if not _succeeds(self.host, "rename", name, _other_name(name)):
                    docker("rename", _other_name(name), name, check=False)
            case "crash":
                pid = docker("inspect", "--format={{.State.Pid}}", name, check=False)
                if pid.isdecimal() and int(pid):
                    self.host.members.send(int(pid), signal.SIGKILL)
            case "stop" | "restart":
                docker(step.kind, "--time=0", name, check=False)
            case "start" | "kill" | "pause" | "unpause":
                docker(step.kind, name, check=False)

    # faults and their cures

    def daemon_kill(self, _: Step) -> None:
        assert self.daemon
        self.daemon.kill()

    def daemon_stop(self, _: Step) -> None:
        assert self.daemon
        process = self.daemon.program.process
        process.terminate()
        try:
            process.wait(BOUND)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # then it tells where its threads are
            process.wait(10)
            self.grievances.append(f"daemon: SIGTERM did not end it within {BOUND} s")

    def daemon_start(self, step: Step) -> None:
        flags = ("--docker-host", proxy.URL, step.detail or f"--backend={self.backend}")
        argv = (sys.executable, "-m", "dockercni", "daemon", *flags)
        self.part(Step("part"))
        self.daemon = daemon = Daemon(self.host.popen(*argv, env=environment() | {"PYTHONFAULTHANDLER": "1"}))
        self.crowded.confine(daemon.program.pid)
        wait_until(lambda: daemon.program.text() or not daemon.program.running, 20, "the daemon's first word")

    def engine_kill(self, step: Step) -> None:
        self.host.kill_engine(containerd=step.detail == "containerd")

    def engine_stop(self, _: Step) -> None:
        self.host.stop_engine()

    def engine_start(self, step: Step) -> None:
        self._join()
        with contextlib.suppress(AssertionError, TimeoutError):  # it does not start while /run is full
            self.host.start_engine(live_restore=bool(step.detail))

    def order(self, step: Step) -> None:
        self.orders.give(step.detail)

    def flush(self, step: Step) -> None:
        self.host.run(*FLUSHES[step.detail].split(), check=False)

    def unpin(self, step: Step) -> None:
        for container_id in self._ids(step.target):
            self.host.run("umount", f"/run/netns/dockercni-{container_id}", check=False)

    def forget(self, step: Step) -> None:
        for path in self._entries(step.target):
            path.unlink(missing_ok=True)

    def truncate(self, step: Step) -> None:
        for path in self._entries(step.target):
            with contextlib.suppress(FileNotFoundError):
                os.truncate(path, path.stat().st_size // 2)

    def fill(self, step: Step) -> None:
        for place in STATE if step.detail == "state" else ("/run",):
            status = os.statvfs(self.host.path(place))
            used = max(1, status.f_blocks - status.f_bfree) * status.f_frsize
            self.host.run("mount", "-o", f"remount,size={used}", place, check=False)

    def free(self, _: Step) -> None:
        for place in (*STATE, "/run"):
            self.host.run("mount", "-o", "remount,size=64m", place)

    def cut(self, _: Step) -> None:
        self.proxy.cut()

    def silence(self, _: Step) -> None:
        self.proxy.silent = True

    def tear(self, _: Step) -> None:
        self.proxy.tear()

    def garble(self, _: Step) -> None:
        self.proxy.garble()

    def damage(self, step: Step) -> None:
        bridge = next(network.bridge for network in NETWORKS if network.name == step.target)
        break_host(self.host, step.detail, bridge, self.neighbours.links)

    def containerd_kill(self, _: Step) -> None:
        self.host.kill_containerd()

    def crowd(self, _: Step) -> None:
        self.crowded.limit(on=True)

    def part(self, _: Step) -> None:
        self.crowded.limit(on=False)

    def administrate(self, step: Step) -> None:
        if ports := self.population[step.target].ports:
            close_port(self.host, ports[0], where=step.detail)

    def claim(self, step: Step) -> None:
        claimed = {claimant.container_id for claimant in self.claimants}
        self.claimants += [Claimant(self.host, one) for one in self._ids(step.target) if one not in claimed]

    def _ids(self, name: str) -> list[str]:
        """The container's id, from the engine's own files: it may not be running."""
        found = []
        for path in self.host.path("/var/lib/docker/containers").glob("*/config.v2.json"):
            with contextlib.suppress(OSError):
                text = path.read_text()
                if any(f'"Name":"/{one}"' in text for one in (name, _other_name(name))):
                    found.append(path.parent.name)
        return found

    def _entries(self, name: str) -> list[os.PathLike[str]]:
        cache = self.host.path("/var/lib/cni/results")
        return [path for container_id in self._ids(name) for path in cache.glob(f"*-{container_id}-*")]


def _other_name(name: str) -> str:
    return f"{name}-renamed"


def _succeeds(host: Host, *argv: str) -> bool:
    return host.run("docker", *argv, check=False).returncode == 0
