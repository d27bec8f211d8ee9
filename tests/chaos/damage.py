"""What others do to a host beside its containers: to bridges and ports, to forwarding, to rules, to cgroups."""

from __future__ import annotations

import contextlib
import re
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.rules import FILTER
from tests.hosts import wait_until

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tests.chaos.rules import Rule
    from tests.hosts import Host
    from tests.hosts.commands import Background

CGROUPS = Path("/sys/fs/cgroup")
PIDS = CGROUPS / "pids"  # the controller's own hierarchy, with version 1

_RULE = "-p tcp -m conntrack --ctorigdstport {} --ctdir ORIGINAL -j DROP"
_CLOSED = re.compile("-A DOCKER-USER " + _RULE.format("([0-9]+)"))

# BRIDGE is a network's bridge, GATEWAY its address with prefix length, PORT one of its ports.
HOST = {
    "bridge deleted": "ip link delete BRIDGE",
    "bridge down": "ip link set BRIDGE down",
    "bridge without address": "ip address flush dev BRIDGE",
    "bridge with another MTU": "ip link set BRIDGE mtu 1280",
    "port off its bridge": "ip link set PORT nomaster",
    "port down": "ip link set PORT down",
    "port deleted": "ip link delete PORT",
    "no forwarding": "sysctl -qw net.ipv4.ip_forward=0",
}


def break_host(host: Host, what: str, bridge: str, spared: Collection[str] = ()) -> None:
    """Do one of HOST, if what it is done to is there; `spared` are ports of somebody else's."""
    found = host.run("/bin/sh", "-c", f"ls /sys/class/net/{bridge}/brif", check=False).stdout.split()
    ports = [port for port in found if port not in spared]
    command = HOST[what].replace("BRIDGE", bridge).replace("PORT", ports[0] if ports else "none")
    host.run(*command.split(), check=False)


def close_port(host: Host, port: int, *, where: str) -> None:
    """Have the administrator refuse connections to a published port, at the head (-I) or end (-A) of DOCKER-USER."""
    host.run("iptables", where, "DOCKER-USER", *_RULE.format(port).split(), check=False)


def administrators(saved: Iterable[Rule]) -> list[Rule]:
    """Those rules that `close_port` made."""
    return [(table, line) for table, line in saved if table == FILTER and _CLOSED.fullmatch(line)]


def closed(saved: Iterable[Rule]) -> set[int]:
    """The ports that such a rule closes; one behind the RETURN that engines before 28 end the chain with does not."""
    chain = takewhile(lambda rule: rule != (FILTER, "-A DOCKER-USER -j RETURN"), saved)
    return {int(found[1]) for table, line in chain if table == FILTER and (found := _CLOSED.fullmatch(line))}


class Claimant:
    """A process in a cgroup that bears a container's id, where the engine would never put that container."""

    def __init__(self, host: Host, container_id: str) -> None:
        self.container_id = container_id
        self._directories = [place / host.name / "claims" / container_id for place in _hierarchies()]
        assert host.holder
        host_namespace = _namespace(host.holder.pid)
        self.process: Background = host.popen("unshare", "--net", "sleep", "3600")
        wait_until(lambda: _namespace(self.process.pid) != host_namespace, 10, "a namespace of its own")
        for directory in self._directories:
            with contextlib.suppress(OSError):  # some hierarchies want to be set up first (cpuset)
                directory.mkdir(parents=True, exist_ok=True)
                (directory / "cgroup.procs").write_text(str(self.process.pid))

    def close(self) -> list[str]:
        """End it; returns the links that it was given."""
        names: list[str] = []
        with contextlib.suppress(OSError):  # the engine ends all that it finds in the cgroup of a container
            shown = Path(f"/proc/{self.process.pid}/net/dev").read_text()
            names = [line.partition(":")[0].strip() for line in shown.splitlines()[2:]]
        self.process.kill()
        wait_until(self._removed, 60, "the end of the claimed cgroups")
        return [name for name in names if name != "lo"]

    def _removed(self) -> bool:
        for directory in self._directories:
            with contextlib.suppress(OSError):  # the kernel empties the cgroup a moment after the process was reaped
                directory.rmdir()
        return not any(directory.exists() for directory in self._directories)


class Crowded:
    """A process that may have no more threads and children than it has."""

    def __init__(self, host: Host) -> None:
        self._directory = PIDS / host.name / "daemon"

    def confine(self, pid: int) -> None:
        """Have the limit, once it is set, hold for this process and its children."""
        if PIDS.is_dir():
            self._directory.mkdir(parents=True, exist_ok=True)
            (self._directory / "cgroup.procs").write_text(str(pid))

    def limit(self, *, on: bool) -> None:
        """Allow none more than there are now, or any number."""
        if self._directory.is_dir():
            allowed = (self._directory / "pids.current").read_text() if on else "max"
            (self._directory / "pids.max").write_text(allowed)


def _hierarchies() -> list[Path]:
    return [place for place in CGROUPS.iterdir() if (place / "cgroup.procs").exists() and place.name != "unified"]


def _namespace(pid: int) -> int:
    return Path(f"/proc/{pid}/ns/net").stat().st_ino
