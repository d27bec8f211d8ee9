"""`dockercni sync [--dry-run] [CONTAINER...]`: attach, detach and repair containers once."""

from collections.abc import Sequence

from dockercni import logs, render
from dockercni.commands.containers import reconcile_at, resolve
from dockercni.commands.table import DRIFT, SOME_FAILED, Invocation
from dockercni.gate import client as gate
from dockercni.reconcile import orphans
from dockercni.reconcile.orphans import Orphan
from dockercni.reconcile.outcome import NOTE, Outcome, Step
from dockercni.reconcile.reconciler import AttachPolicy
from dockercni.wiring import wire


def run(invocation: Invocation) -> int:
    """Reconcile the named containers, or all that dockercni created; print one line for each action, and a verdict.

    JSON keys: converged, containers, attachments, actions [{action, container, id, network, ifname, addresses, ms,
    reason, error}], strays [{what, id, ours, error}].
    """
    logs.configure("error", "auto")  # the lines printed below report the rest
    app = wire(invocation.settings)
    engine = app.client.engine()
    dry_run = invocation.args.dry_run
    named = invocation.args.containers
    ids = [resolve(app, name) for name in named] if named else app.container_ids(engine.mark)
    reconciler = app.reconciler(engine, AttachPolicy(invocation.settings.attach))
    closed = app.forwarding_problems()  # first, since reconciling a container lets it through
    outcomes = reconcile_at(app, reconciler, ids, dry_run=dry_run, forced=bool(named))
    if not dry_run:
        gate.served(invocation.settings.run_dir, [one.id for one in outcomes if one.converged and not one.waits])
        app.attacher.cache.sweep()
        app.settle_forwarding()
    found = [] if named else list(orphans.collect(app.attacher, dry_run=dry_run))
    if invocation.output == "json":
        _print_json(outcomes, found)
    elif invocation.output == "name":
        for one in outcomes:
            if one.steps:
                render.line(one.name)
    else:
        for problem in closed:
            render.line(f"{'would repair' if dry_run else 'REPAIR'} {problem}")
        print_orphans(found, dry_run=dry_run)
        print_lines(outcomes, dry_run=dry_run, wide=invocation.output == "wide")
    steps = [step for one in outcomes for step in one.steps]
    if any(problem for _, _, problem in found) or any(step.error for step in steps):
        return SOME_FAILED
    if any(step.drift for step in steps):
        return DRIFT
    acted = any(step.verb != NOTE for step in steps)
    return DRIFT if dry_run and (closed or acted or any(ours for _, ours, _ in found)) else 0


def print_orphans(found: Sequence[tuple[Orphan, bool, str]], *, dry_run: bool) -> None:
    """One line for each orphan: those that dockercni created are removed (GC), the others are listed (NOTE)."""
    for orphan, ours, problem in found:
        verb = "GC" if ours else "NOTE"
        end = f"failed: {problem}" if problem else "" if ours else "(not known to be created by dockercni: left alone)"
        render.line(" ".join(filter(None, ["would" if dry_run and ours else "", verb, orphan.what, end])))


def line(name: str, step: Step, *, dry_run: bool = False) -> str:
    """One action as a line: ADD web mynet eth0 10.22.0.5/16 3.1 ms (reason)."""
    words = [step.verb, name, step.network, step.ifname, *step.addresses]
    if step.error:
        return f"{' '.join(filter(None, words))} failed: {step.error}"
    if dry_run and step.verb != NOTE:
        words.insert(0, "would")
    elif step.ms:
        words.append(f"{step.ms:.1f} ms")
    return f"{' '.join(filter(None, words))} ({step.reason})"


def print_lines(outcomes: Sequence[Outcome], *, dry_run: bool, wide: bool = False) -> None:
    """One line for each action, and a last one with the verdict."""
    for one in outcomes:
        for step in one.steps:
            render.line(line(f"{one.name} {one.id}" if wide else one.name, step, dry_run=dry_run))
    render.line(_verdict(outcomes, dry_run=dry_run))


def _verdict(outcomes: Sequence[Outcome], *, dry_run: bool) -> str:
    attached = [one for one in outcomes if one.attachments]
    counts = f"{_count(len(attached), 'container')}, {_count(sum(one.attachments for one in outcomes), 'attachment')}"
    failed = [one.name for one in outcomes if not one.converged]
    if failed:
        return f"not converged: {counts}, {len(failed)} with problems: {', '.join(failed)}"
    repaired = sum(any(step.verb != NOTE for step in one.steps) for one in outcomes)
    if dry_run:
        return f"would be converged: {counts}, {repaired} to repair" if repaired else f"converged: {counts}"
    return f"converged: {counts}, {repaired} repaired"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _print_json(outcomes: Sequence[Outcome], found: Sequence[tuple[Orphan, bool, str]]) -> None:
    actions = [
        {
            "action": step.verb,
            "container": one.name,
            "id": one.id,
            "network": step.network,
            "ifname": step.ifname,
            "addresses": list(step.addresses),
            "ms": step.ms,
            "reason": step.reason,
            "error": step.error,
        }
        for one in outcomes
        for step in one.steps
    ]
    render.json(
        {
            "converged": all(one.converged for one in outcomes),
            "containers": sum(bool(one.attachments) for one in outcomes),
            "attachments": sum(one.attachments for one in outcomes),
            "actions": actions,
            "strays": [
                {"what": orphan.what, "id": orphan.container_id, "ours": ours, "error": problem}
                for orphan, ours, problem in found
            ],
        }
    )
