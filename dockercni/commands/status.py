"""`dockercni status [--wait] [--probe]`: whether the daemon lives and all containers have their networks."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from dockercni import render
from dockercni.commands import heard
from dockercni.errors import NotRoot

if TYPE_CHECKING:
    from dockercni.commands.convergence import State
    from dockercni.commands.table import Request
    from dockercni.status_file import DaemonStatus

FAILED: Final = 1
NOT_CONVERGED: Final = 3
UNREACHABLE: Final = 75


def run(request: Request) -> int:
    """Print what was found.

    JSON keys: daemon {running, told, pulse}, engine, problem, converged, wanted, attached, attachments, pending,
    failing, drift, notes, notOurs.
    """
    if os.geteuid() != 0:
        raise NotRoot("what the daemon says of itself is for root only; try sudo")
    alive, told, pulse = heard.daemon(request.settings)
    if request.args.probe:
        render.line(told)
        return 0 if alive else FAILED
    from dockercni import logs  # noqa: PLC0415  the same
    from dockercni.commands import convergence  # noqa: PLC0415  slow, for a probe that runs every few seconds

    logs.configure("error", "auto")
    found = convergence.state(request.settings, pulse.failing if pulse and alive else {}, request.args.wait)
    if request.output == "json":
        shown = asdict(found)
        shown["notOurs"] = shown.pop("not_ours")
        render.json({"daemon": _shown(pulse, told, alive=alive), "converged": found.converged, **shown})
    else:
        _print_lines(found, told, pulse if alive else None)
    if request.args.wait is not None:
        return 0 if found.converged else FAILED
    if found.problem:
        return UNREACHABLE
    if not alive:
        return FAILED
    return 0 if found.converged else NOT_CONVERGED


def _shown(pulse: DaemonStatus | None, told: str, *, alive: bool) -> dict[str, object]:
    last = None
    if pulse:
        last = {
            "pid": pulse.pid,
            "started": pulse.started,
            "age": round(pulse.age, 1),
            "connected": pulse.connected,
            "lost": pulse.lost,
            "lookedAtAll": pulse.looked_at_all,
            "busy": list(pulse.busy),
            "off": dict(pulse.off),
            "late": pulse.late,
            "down": dict(pulse.down),
        }
    return {"running": alive, "told": told, "pulse": last}


def _print_lines(found: State, told: str, pulse: DaemonStatus | None) -> None:
    render.line(told)
    for what, reason in (pulse.off if pulse else {}).items():
        render.line(f"{what} off: {reason}")
    if pulse and pulse.late:
        render.line(f"late: {pulse.late} entrypoints began before their network was there, since {pulse.started}")
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
