"""What engine, kernel and files of a host show. Nothing is asked of dockercni, and nothing of it is imported."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.hosts.outside import HOST_LINK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hosts import Host

LEASE_KEEPING = re.compile(r"lock|last_reserved_ip\..*")
NETS, CACHE, PINS = "/var/lib/cni/networks", "/var/lib/cni", "/run/netns"


@dataclass(frozen=True)
class Running:
    """A running container with network mode none, and what the kernel shows in its namespace."""

    id: str
    name: str
    pid: int
    paused: bool
    links: dict[str, dict[str, Any]]  # by name, as `ip -j addr` shows them, without lo

    def addresses(self, ifname: str) -> list[str]:
        """The IPv4 addresses of an interface."""
        return [info["local"] for info in self.links[ifname].get("addr_info", ()) if info["family"] == "inet"]


def running(host: Host) -> list[Running]:
    """The containers that the engine says are running."""
    ids = host.docker("ps", "--quiet", "--no-trunc").split()
    shown = json.loads(host.docker("inspect", *ids)) if ids else []
    found = [one for one in shown if one["State"]["Running"] and one["HostConfig"]["NetworkMode"] == "none"]
    script = "for pid; do nsenter --target=$pid --net ip -json addr || echo '[]'; done"
    pids = [one["State"]["Pid"] for one in found]
    lines = host.run("/bin/sh", "-c", script, "links", *map(str, pids)).stdout.splitlines()
    links = [json.loads(line) for line in lines if line.strip()]
    return [
        Running(
            one["Id"],
            one["Name"].lstrip("/"),
            pid,
            one["State"]["Paused"],
            {link["ifname"]: link for link in inside if link["ifname"] != "lo"},
        )
        for one, pid, inside in zip(found, pids, links, strict=True)
    ]


def leases(host: Host) -> dict[str, str]:
    """`network/address` -> who holds it, of host-local's store."""
    found = {}
    for path in host.path(NETS).glob("*/*"):
        if not LEASE_KEEPING.fullmatch(path.name):
            found[f"{path.parent.name}/{path.name}"] = path.read_bytes().decode(errors="replace").replace("\r\n", " ")
    return found


def cache_entries(host: Host) -> dict[str, dict[str, Any]]:
    """File name -> content of libcni's cache; what cannot be read is empty. Scratch files have their path as name."""
    found: dict[str, dict[str, Any]] = {}
    for path in host.path(CACHE).glob("results/*"):
        try:
            found[path.name] = json.loads(path.read_bytes())
        except ValueError:
            found[path.name] = {}
    for path in host.path(CACHE).iterdir():
        if not path.is_dir():
            found[str(path.name)] = {}
    return found


def pins(host: Host) -> dict[str, tuple[int, int]]:
    """Name -> device and inode of everything in the directory of pins."""
    return {path.name: identity(path) for path in host.path(PINS).iterdir()}


def identity(path: Path) -> tuple[int, int]:
    """Device and inode."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def mounts(host: Host) -> Counter[str]:
    """The mount points of namespaces; one that is mounted over itself counts twice.

    A bind of a directory itself (`ip netns` and ours make one) shows what is mounted below it once more.
    """
    assert host.holder
    found: dict[str, str] = {}
    parents = []
    for line in Path(f"/proc/{host.holder.pid}/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        number, parent, _, _, point, *_ = fields.split()
        if kind.startswith("nsfs "):
            found[number] = point
            parents.append((parent, point))
    twice = {point for parent, point in parents if found.get(parent) == point}
    return Counter({point: 1 + (point in twice) for point in found.values()})


def host_links(host: Host) -> dict[int, dict[str, Any]]:
    """The links of the host by index, without those that are there before any container."""
    links = json.loads(host.run("ip", "-json", "-details", "link").stdout)
    return {link["ifindex"]: link for link in links if link["ifname"] not in {"lo", "docker0", HOST_LINK}}


def saved_rules(host: Host) -> Iterator[tuple[str, str]]:
    """(`family table`, line) of all rules and chains of iptables."""
    script = "for table in nat filter mangle raw; do {0}-save -t $table; done"
    for family in ("iptables", "ip6tables"):
        table = ""
        for line in host.run("/bin/sh", "-c", script.format(family)).stdout.splitlines():
            if line.startswith("*"):
                table = line[1:]
            elif line.startswith("-A "):
                yield f"{family} {table}", line
            elif line.startswith(":"):
                yield f"{family} {table}", line.split()[0]


def foreign_tables(host: Host) -> list[str]:
    """Tables of nftables that iptables does not own."""
    tables = host.run("nft", "list", "tables").stdout.splitlines()
    own = re.compile(r"table ip6? (nat|filter|mangle|raw)")
    return [table for table in tables if table.strip() and not own.fullmatch(table.strip())]


def plugin_processes(host: Host) -> list[str]:
    """Plugins that still run, and what they have left behind: their environment says so."""
    found = []
    for pid in host.members.find():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if b"\0CNI_COMMAND=" in b"\0" + environment:
            found.append(f"{pid} {' '.join(words).strip()}")
    return found
