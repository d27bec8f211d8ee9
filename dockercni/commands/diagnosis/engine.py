"""The engine: whether it answers, and whether dockercni can serve it; and whether the daemon works."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from dockercni.commands import liveness
from dockercni.commands.diagnosis.finding import Finding, fail, ok, warn
from dockercni.docker.client import Client
from dockercni.errors import EngineRefused, EngineUnavailable
from dockercni.linux import capabilities
from dockercni.settings import Settings
from dockercni.status_file import DaemonStatus

_OTHER_KERNELS: Final = re.compile("kata|runsc|gvisor|firecracker|wasm")
_NOT_FOLLOWED: Final = (
    "their programs run on a kernel of their own (Kata, gVisor), so their start is not followed or held"
)
_OLDEST: Final = (20, 10)
_EARLY: Final = "in a sidecar: --cgroupns host, -v /sys/fs/cgroup:/sys/fs/cgroup:ro, the engine's data root mounted"
_HOLD: Final = "in a sidecar: --cap-add SYS_PTRACE --security-opt apparmor=unconfined --security-opt label=disable"


def findings(settings: Settings, client: Client) -> Iterator[Finding]:
    """About engine and daemon."""
    yield from _engine(settings, client)
    daemon = liveness.of_daemon(settings)
    if daemon.alive:
        yield ok("daemon", daemon.sentence)
    else:
        fix = "journalctl -u dockercni" if daemon.locked else "systemctl enable --now dockercni"
        yield warn("daemon", f"{daemon.sentence}; until it works, only sync attaches containers", fix)
    if daemon.status:
        yield from _starts(daemon.status)
    elif reason := capabilities.obstacle():
        yield warn("hold", f"a daemon could not hold starting containers: {reason}", _HOLD)


def _starts(status: DaemonStatus) -> Iterator[Finding]:
    if reason := status.off.get("early watch"):
        yield warn("early watch", f"off: {reason}; networks come after the entrypoint has begun", _EARLY)
    elif reason := status.off.get("hold"):
        yield warn("hold", f"off: {reason}; an entrypoint may run before its network is there", _HOLD)
    else:
        yield ok("early watch", "starting containers are found before their entrypoint runs")


def _engine(settings: Settings, client: Client) -> Iterator[Finding]:
    try:
        engine = client.engine()
    except EngineUnavailable as error:
        yield fail("engine", str(error), "systemctl start docker, or set docker-host")
        return
    except EngineRefused as error:
        yield fail("engine", str(error), "set docker-host to the socket of an engine that root runs")
        return
    yield ok("engine", f"Docker {engine.version} answers at {settings.docker_host}")
    numbers = [int(number) for number in re.findall(r"\d+", engine.version)[:2]]
    if numbers and tuple(numbers) < _OLDEST:
        yield warn("engine", f"{engine.version} is not tested; versions from 20.10 on are", "upgrade Docker")
    if engine.root and not Path(engine.root).is_dir():
        yield warn(
            "engine",
            f"its data root {engine.root} is not visible from here",
            f"in a sidecar: -v {engine.root}:{engine.root}",
        )
    if engine.cgroup_driver:
        yield ok(
            "cgroups", f"the engine uses the {engine.cgroup_driver} driver on cgroup v{engine.cgroup_version or 1}"
        )
    yield from _runtimes(engine.runtime, dict(engine.runtimes))


def _runtimes(default: str, programs: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the runtimes, the default one and others, run containers as processes of this kernel.

    Only such processes can be followed and held. The administrator chooses a runtime's name, so its path is examined
    as well.
    """

    def is_other(name: str) -> bool:
        return bool(_OTHER_KERNELS.search(f"{name} {programs.get(name, '')}"))

    others = sorted(name for name in programs if name != default and is_other(name))
    if default and is_other(default):
        kind = programs.get(default, "")
        shown = f"{default} ({kind})" if kind not in ("", default) else default
        yield warn(
            "runtime",
            f"{shown}, the default: {_NOT_FOLLOWED}",
            "docker run --runtime runc for containers with network none",
        )
    elif default:
        yield ok("runtime", f"{default} is the default (runc and crun are tested)")
    if others:
        yield ok("runtime", f"for containers run with {', '.join(others)}: {_NOT_FOLLOWED}")
