"""Every way in which containers start, in numbers: how many find address and route at their first instruction.

A row prepares the host and says with which flags the daemon runs; then it starts containers, each of which counts.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engine.probes import BIN_DIR, PROBE, configure, share
from tests.hosts import IMAGE, dhcp, wait_until

if TYPE_CHECKING:
    from tests.hosts import Host

LATE = "can't find device"
DHCP_BRIDGE = "dhcp0"


@dataclass(frozen=True, slots=True)
class Row:
    """`start` returns how many were ready, and of how many."""

    name: str
    prepare: Callable[[Host], tuple[str, ...]]
    start: Callable[[Host], tuple[int, int]]


def _native(_: Host) -> tuple[str, ...]:
    return ("--backend=builtin",)


def _executables(_: Host) -> tuple[str, ...]:
    return ("--backend=exec",)


def _slow(host: Host) -> tuple[str, ...]:
    configure(host, ADD={"sleep": 1})
    return (BIN_DIR,)


def _dhcp(host: Host) -> tuple[str, ...]:
    for command in (
        f"link add {DHCP_BRIDGE} type bridge",
        f"addr add 10.57.0.1/16 dev {DHCP_BRIDGE}",
        f"link set {DHCP_BRIDGE} up",
    ):
        host.run("ip", *command.split())
    dhcp.start_server(host, DHCP_BRIDGE, "10.57.1.1", "10.57.20.254")
    dhcp.start_daemon(host, _plugin("dhcp"))
    plugins = [{"type": "bridge", "bridge": DHCP_BRIDGE, "ipam": {"type": "dhcp"}}]
    host.write("/etc/cni/net.d/10-lan.conflist", json.dumps({"cniVersion": "1.0.0", "name": "lan", "plugins": plugins}))
    return ()


def _plugin(name: str) -> Path:
    found = shutil.which(name, path="/opt/cni/bin:/usr/lib/cni:/usr/libexec/cni")
    assert found, f"there is no plugin {name}"
    return Path(found)


def _singles(count: int) -> Callable[[Host], tuple[int, int]]:
    return lambda host: (share(host, count), count)


def _bursts(bursts: int, count: int) -> Callable[[Host], tuple[int, int]]:
    return lambda host: (sum(share(host, count, together=True) for _ in range(bursts)), bursts * count)


def _lives(host: Host, names: list[str], lives: int) -> int:
    """Wait until each of them has told of its interface so many times; how often it was there."""

    def told(pattern: str) -> list[int]:
        return [len(re.findall(pattern, _logs(host, name))) for name in names]

    wait_until(lambda: told(f"inet |{LATE}") == [lives] * len(names), 120, f"{lives} lives", lambda: told("inet "))
    return sum(told("inet "))


def _logs(host: Host, name: str) -> str:
    done = host.run("docker", "logs", name)
    return done.stdout + done.stderr


def _run(host: Host, name: str, *flags: str) -> None:
    command = f"{' '.join(PROBE)}; exec sleep 86400"
    host.docker("run", "--detach", f"--name={name}", "--network=none", *flags, IMAGE, "sh", "-c", command)


def _engine_starts(host: Host, count: int) -> tuple[int, int]:
    """Restart policy `always`, every other one with a label; the engine is stopped and started."""
    names = [f"one{number}" for number in range(count)]
    for number, name in enumerate(names):
        _run(host, name, "--restart=always", *(["--label=com.example.team=net"] if number % 2 else []))
    ready = _lives(host, names, 1)
    host.stop_engine()
    host.start_engine()
    return _lives(host, names, 2) - ready, count


def _restarts(host: Host, count: int) -> tuple[int, int]:
    """`docker restart`, and `docker stop` and `docker start`, of one container."""
    _run(host, "one")
    for netns_id in range(count):
        _lives(host, ["one"], netns_id + 1)
        if netns_id % 2:
            host.docker("restart", "--time=0", "one")
        else:
            host.docker("stop", "--time=0", "one")
            host.docker("start", "one")
    return _lives(host, ["one"], count + 1) - 1, count


def _crash_loop(host: Host, lives: int) -> tuple[int, int]:
    """One whose program ends at once, with a restart policy; each life counts."""
    host.docker("run", "--detach", "--name=one", f"--restart=on-failure:{lives - 1}", "--network=none", IMAGE, *CRASH)
    return _lives(host, ["one"], lives), lives


CRASH = ("sh", "-c", f"{' '.join(PROBE)}; exit 1")


def _compose(host: Host, count: int) -> tuple[int, int]:
    """`docker-compose up` with so many services."""
    services = {f"one{n}": {"image": IMAGE, "network_mode": "none", "command": list(PROBE)} for n in range(count)}
    host.write("/run/private/compose.yaml", json.dumps({"services": services}))
    done = host.run("docker-compose", "--file=/run/private/compose.yaml", "--project-name=ten", "up", timeout=110)
    return done.stdout.count("inet "), count


# With TEST_STARTS=few, every way is tried, but each a few times only.
FEW = os.environ.get("TEST_STARTS") == "few"
ROWS = (
    Row("native, one by one", _native, _singles(10 if FEW else 200)),
    Row("native, 50 at once", _native, _bursts(1 if FEW else 5, 50)),
    Row("executables, one by one", _executables, _singles(5 if FEW else 40)),
    Row("executables, 50 at once", _executables, _bursts(1, 10 if FEW else 50)),
    Row("a plugin that takes 1 s, 50 at once", _slow, _bursts(1, 10 if FEW else 50)),
    Row("DHCP, one by one", _dhcp, _singles(3 if FEW else 10)),
    Row("DHCP, 20 at once", _dhcp, _bursts(1, 5 if FEW else 20)),
    Row("restart policy, the engine starts", _native, partial(_engine_starts, count=8 if FEW else 20)),
    Row("restart policy, slow plugin, the engine starts", _slow, partial(_engine_starts, count=4 if FEW else 20)),
    Row("docker restart, docker start", _native, partial(_restarts, count=4 if FEW else 20)),
    Row("crash loop", _native, partial(_crash_loop, lives=3 if FEW else 8)),
    Row("Compose, ten services", _native, partial(_compose, count=10)),
)
