"""The attachments: whether their records can be read, and what they lack on the host."""

from __future__ import annotations

import os
from collections.abc import Iterator

from dockercni.cni import Cache, CacheEntry, CacheError
from dockercni.commands.diagnosis.finding import Finding, fail, ok, warn
from dockercni.errors import DockercniError
from dockercni.reconcile import orphaned_elements, records
from dockercni.reconcile.host_half import HostHalf
from dockercni.reconcile.host_local_leases import missing
from dockercni.reconcile.locks import Locks
from dockercni.settings import Settings


def findings(settings: Settings) -> Iterator[Finding]:
    """The records, and for those that are ours the host's half."""
    cache = Cache(settings.cni_cache_dir)
    broken: list[CacheError] = []
    try:
        entries = list(cache.entries(broken=broken.append))
    except OSError as error:
        yield warn("records", f"{cache.directory}: {error.strerror}")
        return
    for problem in broken:
        yield warn("records", str(problem), "inspect the file; dockercni cannot detach what it recorded")
    ours = [entry for entry in entries if entry.owner is not None]
    foreign = len(entries) - len(ours)
    yield from _orphans(entries)
    others = f", {foreign} of other runtimes, which are left alone" if foreign else ""
    yield ok("records", f"{len(ours)} attachments by dockercni{others}")
    if os.geteuid() == 0:
        yield from _host(HostHalf(Locks(settings.run_dir, settings.plugin_timeout)), ours)


def _orphans(entries: list[CacheEntry]) -> Iterator[Finding]:
    try:
        orphans = [*orphaned_elements.find(entries), *orphaned_elements.policies(entries)]
    except DockercniError as error:
        yield warn("rules", f"cannot list the nftables table of dockercni: {error}")
        return
    for orphan in orphans:
        yield warn("rules", f"no record explains {orphan}", "dockercni gc")


def _host(host: HostHalf, entries: list[CacheEntry]) -> Iterator[Finding]:
    lacking: dict[str, list[str]] = {}
    try:
        for entry in entries:
            name = (entry.owner or {}).get(records.NAME, "") or entry.container_id[:12]
            for words in (*host.missing([entry]).values(), *host.broken([entry]).values(), *missing([entry]).values()):
                for word in words:
                    lacking.setdefault(word, []).append(f"{name} {entry.ifname}")
    except DockercniError as error:
        yield warn("host", str(error))
        return
    for what, concerned in lacking.items():
        yield fail("host", f"missing for {', '.join(concerned)}: {what}", "dockercni sync, or start the daemon")
    if entries and not lacking:
        yield ok("host", "all bridges, addresses and forwarding settings that the attachments need are in place")
