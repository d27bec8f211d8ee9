"""What a process costs: memory, descriptors, threads; and what it has mounted and leased."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos import facts

if TYPE_CHECKING:
    from tests.hosts import Host


@dataclass(frozen=True)
class Vitals:
    """One moment of a process and its host. `resident` is in KiB."""

    resident: int
    descriptors: int
    threads: int
    mounts: int
    leases: int
    files: int  # of ours: cache entries, memories, locks

    def __str__(self) -> str:
        return (
            f"{self.resident / 1024:.1f} MiB, {self.descriptors} descriptors, {self.threads} threads, "
            f"{self.mounts} mounts, {self.leases} leases, {self.files} files"
        )


def vitals(host: Host, pid: int) -> Vitals:
    """Those of process `pid`."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    ours = [
        path
        for place in ("/var/lib/cni/results", "/var/lib/dockercni", "/run/dockercni")
        for path in _files(host, place)
    ]
    return Vitals(
        resident=int(status["VmRSS"].split()[0]),
        descriptors=len(os.listdir(f"/proc/{pid}/fd")),
        threads=int(status["Threads"]),
        mounts=sum(facts.mounts(host).values()),
        leases=len(facts.leases(host)),
        files=len(ours),
    )


def _files(host: Host, place: str) -> list[Path]:
    return [path for path in host.path(place).rglob("*") if path.is_file()]
