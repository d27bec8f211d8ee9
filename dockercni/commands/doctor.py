"""`dockercni doctor`: what keeps networks from working on this host, and how to fix it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from dockercni import logs, render
from dockercni.commands.diagnosis import attachments, engine, firewall, host, networks
from dockercni.commands.diagnosis.finding import Finding
from dockercni.commands.table import FAILED, Invocation
from dockercni.docker.client import Client


def run(invocation: Invocation) -> int:
    """Print the findings, each problem with its fix.

    JSON keys: findings [{level, subject, what, fix, mend}]; `mend` is the old name of `fix`.
    """
    logs.configure("error", "auto")
    found = list(_findings(invocation))
    if invocation.output == "json":
        render.json({"findings": [{**asdict(one), "mend": one.fix} for one in found]})
    else:
        for one in found:
            render.line(f"{one.level:<5} {one.subject}: {one.what}")
            if one.fix:
                render.line(f"      fix: {one.fix}")
    return FAILED if any(one.level == "fail" for one in found) else 0


def _findings(invocation: Invocation) -> Iterator[Finding]:
    settings = invocation.settings
    client = Client(settings.docker_host)
    yield from engine.findings(settings, client)
    yield from host.findings(settings)
    yield from firewall.findings(settings, client)
    yield from networks.findings(settings, client)
    yield from attachments.findings(settings)
