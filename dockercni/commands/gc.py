"""`dockercni gc [--dry-run]`: remove what is provably ours and has no owner; name the rest."""

from dockercni import render
from dockercni.commands import sync
from dockercni.commands.containers import look_at
from dockercni.commands.table import Request
from dockercni.daemon import wire
from dockercni.observe import logs
from dockercni.reconcile import strays
from dockercni.reconcile.look import Policy


def run(request: Request) -> int:
    """Look at every container, then at leases, rules and plugins' own leftovers; print one line for each."""
    logs.configure("error", "auto")
    parts = wire(request.settings)
    dry_run = request.args.dry_run
    engine = parts.client.engine()
    looker = parts.looker(engine.id, Policy(request.settings.attach))
    seen = look_at(parts, looker, parts.everything(engine.id), dry_run=dry_run)
    sync.print_lines(seen, dry_run=dry_run)
    found = list(strays.collect(parts.attacher, parts.memory, dry_run=dry_run))
    sync.print_strays(found, dry_run=dry_run)
    failed = any(problem for _, _, problem in found) or not all(one.converged for one in seen)
    for network, problem in () if dry_run else strays.send_gc(parts.attacher):
        if problem:
            render.line(f"GC {network} failed: {problem}")
            failed = True
    if failed:
        return sync.SOME_FAILED
    return sync.DRIFT if dry_run and any(ours for _, ours, _ in found) else 0
