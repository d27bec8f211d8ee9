"""`dockercni gc [--dry-run]`: remove what dockercni created and nothing uses any more; list the rest."""

from dockercni import logs, render
from dockercni.commands import sync
from dockercni.commands.containers import reconcile_at
from dockercni.commands.table import DRIFT, SOME_FAILED, Invocation
from dockercni.reconcile import orphans
from dockercni.reconcile.orphans import Sent
from dockercni.reconcile.reconciler import AttachPolicy
from dockercni.wiring import wire


def run(invocation: Invocation) -> int:
    """Reconcile every container, then collect leases, rules and what plugins find by GC; print one line for each."""
    logs.configure("error", "auto")
    app = wire(invocation.settings)
    dry_run = invocation.args.dry_run
    engine = app.client.engine()
    reconciler = app.reconciler(engine, AttachPolicy(invocation.settings.attach))
    outcomes = reconcile_at(app, reconciler, app.container_ids(engine.mark), dry_run=dry_run)
    if not dry_run:
        app.settle_forwarding()
    sync.print_lines(outcomes, dry_run=dry_run)
    found = list(orphans.collect(app.attacher, dry_run=dry_run))
    sync.print_orphans(found, dry_run=dry_run)
    sent = list(orphans.send_gc(app.attacher, dry_run=dry_run))
    for one in sent:
        render.line(_line(one, dry_run=dry_run))
    failed = any(problem for _, _, problem in found) or any(one.problem for one in sent)
    if failed or not all(one.converged for one in outcomes):
        return SOME_FAILED
    return DRIFT if dry_run and any(ours for _, ours, _ in found) else 0


def _line(sent: Sent, *, dry_run: bool) -> str:
    words = f"GC network {sent.network} ({', '.join(sent.plugins)})"
    if sent.problem:
        return f"GC {sent.network} failed: {sent.problem}"
    if sent.reason:
        return f"NOTE no {words}: {sent.reason}"
    return f"would {words}" if dry_run else words
