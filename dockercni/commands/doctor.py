"""`dockercni doctor`: what keeps networks from working here, and what mends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from dockercni import render
from dockercni.cni import Cache, CacheEntry, CacheError
from dockercni.commands.diagnosis import engine, firewall, host, networks
from dockercni.commands.diagnosis.finding import Finding, ok, warn
from dockercni.engine.client import Client
from dockercni.errors import DockercniError
from dockercni.observe import logs
from dockercni.reconcile import orphaned_elements

if TYPE_CHECKING:
    from dockercni.commands.table import Request

FAILED: Final = 1


def run(request: Request) -> int:
    """Print the findings, the bad ones with what mends them; JSON keys: findings [{level, subject, what, mend}]."""
    logs.configure("error", "auto")
    found = list(_findings(request))
    if request.output == "json":
        render.json({"findings": [asdict(one) for one in found]})
    else:
        for one in found:
            render.line(f"{one.level:<5} {one.subject}: {one.what}")
            if one.mend:
                render.line(f"      mend: {one.mend}")
    return FAILED if any(one.level == "fail" for one in found) else 0


def _findings(request: Request) -> Iterator[Finding]:
    settings = request.settings
    client = Client(settings.docker_host)
    yield from engine.findings(settings, client)
    yield from host.findings(settings)
    yield from firewall.findings()
    yield from networks.findings(settings, client)
    yield from _records(Cache(settings.cni_cache_dir))


def _orphans(entries: Sequence[CacheEntry]) -> Iterator[Finding]:
    try:
        orphans = orphaned_elements.find(entries)
    except DockercniError as error:
        yield warn("rules", f"our nftables table cannot be listed: {error}")
        return
    for orphan in orphans:
        yield warn("rules", f"no record explains {orphan}", "dockercni gc")


def _records(cache: Cache) -> Iterator[Finding]:
    ours = foreign = 0
    try:
        entries = list(cache.entries())
    except OSError as error:
        yield warn("records", f"{cache.directory}: {error.strerror}")
        return
    for entry in entries:
        if isinstance(entry, CacheError):
            yield warn("records", str(entry), "look at it; what it tells of cannot be taken back any more")
        elif entry.owner is None:
            foreign += 1
        else:
            ours += 1
    yield from _orphans([entry for entry in entries if not isinstance(entry, CacheError)])
    others = f", {foreign} of other runtimes, which are left alone" if foreign else ""
    yield ok("records", f"{ours} attachments of ours{others}")
