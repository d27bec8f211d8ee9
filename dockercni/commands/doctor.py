"""`dockercni doctor`: what keeps networks from working here, and what mends it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from dockercni import logs, render
from dockercni.commands.diagnosis import attachments, engine, firewall, host, networks
from dockercni.commands.diagnosis.finding import Finding
from dockercni.docker.client import Client

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
    yield from firewall.findings(settings, client)
    yield from networks.findings(settings, client)
    yield from attachments.findings(settings)
