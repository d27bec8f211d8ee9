"""`dockercni status [--wait] [--probe]`: whether the daemon works and all containers have their networks."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

from dockercni import render
from dockercni.commands import liveness
from dockercni.commands.table import DRIFT, FAILED, Invocation
from dockercni.errors import EngineUnavailable, NotRoot

if TYPE_CHECKING:
    from dockercni.commands.convergence import Convergence
    from dockercni.commands.liveness import Liveness


def run(invocation: Invocation) -> int:
    """Print what was found; the exit codes are in the table of commands.

    JSON keys: daemon {running, told, pulse}, engine, problem, converged, wanted, attached, attachments, pending,
    failing, drift, notes, notOurs.
    """
    if os.geteuid() != 0:
        raise NotRoot("the daemon's status can only be read by root; try sudo")
    daemon = liveness.of_daemon(invocation.settings)
    if invocation.args.probe:
        render.line(daemon.sentence)
        return 0 if daemon.alive else FAILED
    # Imported late, as a probe runs every few seconds and these are slow to import.
    from dockercni import logs  # noqa: PLC0415  slow to import
    from dockercni.commands import convergence  # noqa: PLC0415  slow to import

    logs.configure("error", "auto")
    found = convergence.state(invocation.settings, daemon.failing, invocation.args.wait)
    if invocation.output == "json":
        shown = asdict(found)
        shown["notOurs"] = shown.pop("not_ours")
        render.json({"daemon": _shown(daemon), "converged": found.converged, **shown})
    else:
        _print_lines(found, daemon)
    if invocation.args.wait is not None:
        return 0 if found.converged else FAILED
    if found.problem:
        return EngineUnavailable.exit_code
    if not daemon.alive:
        return FAILED
    return 0 if found.converged else DRIFT


def _shown(daemon: Liveness) -> dict[str, object]:
    last = None
    if status := daemon.status:
        last = {
            "pid": status.pid,
            "started": status.started,
            "age": round(status.age, 1),
            "connected": status.connected,
            "lost": status.lost,
            "lookedAtAll": status.reconciled_all,
            "busy": list(status.busy),
            "off": dict(status.off),
            "late": status.late,
            "down": dict(status.down),
        }
    return {"running": daemon.alive, "told": daemon.sentence, "pulse": last}


def _print_lines(found: Convergence, daemon: Liveness) -> None:
    render.line(daemon.sentence)
    if (status := daemon.status) and daemon.alive:
        for what, reason in status.off.items():
            render.line(f"{what} off: {reason}")
        if status.late:
            render.line(f"late: {status.late} entrypoints began before their network was there, since {status.started}")
    if found.problem:
        render.line(found.problem)
        return
    render.line(
        f"Docker {found.engine}: {found.wanted} wanted, {found.attached} attached, {found.attachments} attachments"
    )
    lists = (
        ("pending", found.pending),
        ("failing", found.failing),
        ("drift", found.drift),
        ("note", found.notes),
        ("not ours", found.not_ours),
    )
    for title, lines in lists:
        for line in lines:
            render.line(f"{title}: {line}")
    render.line("converged" if found.converged else "not converged")
