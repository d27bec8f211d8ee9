"""`dockercni sync [--dry-run] [CONTAINER...]`: look at containers once and repair them."""

from collections.abc import Sequence

from dockercni import logs, render
from dockercni.commands.containers import look_at, resolve
from dockercni.commands.table import Request
from dockercni.gate import client as gate
from dockercni.reconcile import orphans
from dockercni.reconcile.orphans import Stray
from dockercni.reconcile.reconciler import NOTE, Outcome, Policy, Seen
from dockercni.wiring import wire

SOME_FAILED = 4
DRIFT = 3


def run(request: Request) -> int:
    """Look at the named containers, or at everything of ours; print one line for each action, and a verdict.

    JSON keys: converged, containers, attachments, actions [{action, container, id, network, ifname, addresses, ms,
    reason, error}], strays [{what, id, ours, error}].
    """
    logs.configure("error", "auto")  # what is worth telling stands in the lines
    parts = wire(request.settings)
    engine = parts.client.engine()
    dry_run = request.args.dry_run
    named = request.args.containers
    ids = [resolve(parts, name) for name in named] if named else parts.everything(engine.mark)
    looker = parts.looker(engine, Policy(request.settings.attach))
    closed = parts.not_let_through()  # before any look, which opens the way for its container
    seen = look_at(parts, looker, ids, dry_run=dry_run, by_hand=bool(named))
    if not dry_run:
        gate.served(request.settings.run_dir, [one.id for one in seen if one.converged and not one.waits])
        parts.attacher.cache.sweep()
        parts.let_through()
    found = [] if named else list(orphans.collect(parts.attacher, dry_run=dry_run))
    if request.output == "json":
        _print_json(seen, found)
    elif request.output == "name":
        for one in seen:
            if one.outcomes:
                render.line(one.name)
    else:
        for problem in closed:
            render.line(f"{'would repair' if dry_run else 'REPAIR'} {problem}")
        print_strays(found, dry_run=dry_run)
        print_lines(seen, dry_run=dry_run, wide=request.output == "wide")
    if any(problem for _, _, problem in found) or any(outcome.error for one in seen for outcome in one.outcomes):
        return SOME_FAILED
    if any(outcome.drift for one in seen for outcome in one.outcomes):
        return DRIFT
    acted = any(outcome.verb != NOTE for one in seen for outcome in one.outcomes)
    return DRIFT if dry_run and (closed or acted or any(ours for _, ours, _ in found)) else 0


def print_strays(found: Sequence[tuple[Stray, bool, str]], *, dry_run: bool) -> None:
    """One line for each thing without an owner: those that are provably ours go, the others are named."""
    for stray, ours, problem in found:
        verb = "GC" if ours else "NOTE"
        outcome = f"failed: {problem}" if problem else "" if ours else "(not provably ours: left alone)"
        render.line(" ".join(filter(None, ["would" if dry_run and ours else "", verb, stray.what, outcome])))


def line(name: str, outcome: Outcome, *, dry_run: bool = False) -> str:
    """One action in words: ADD web mynet eth0 10.22.0.5/16 3.1 ms (reason)."""
    words = [outcome.verb, name, outcome.network, outcome.ifname, *outcome.addresses]
    if outcome.error:
        return f"{' '.join(filter(None, words))} failed: {outcome.error}"
    if dry_run and outcome.verb != NOTE:
        words.insert(0, "would")
    elif outcome.ms:
        words.append(f"{outcome.ms:.1f} ms")
    return f"{' '.join(filter(None, words))} ({outcome.reason})"


def print_lines(seen: Sequence[Seen], *, dry_run: bool, wide: bool = False) -> None:
    """One line for each action, and a last one with the verdict."""
    for one in seen:
        for outcome in one.outcomes:
            render.line(line(f"{one.name} {one.id}" if wide else one.name, outcome, dry_run=dry_run))
    render.line(_verdict(seen, dry_run=dry_run))


def _verdict(seen: Sequence[Seen], *, dry_run: bool) -> str:
    attached = [one for one in seen if one.attachments]
    counts = f"{_count(len(attached), 'container')}, {_count(sum(one.attachments for one in seen), 'attachment')}"
    failed = [one.name for one in seen if not one.converged]
    if failed:
        return f"not converged: {counts}, {len(failed)} with problems: {', '.join(failed)}"
    repaired = sum(any(outcome.verb != NOTE for outcome in one.outcomes) for one in seen)
    if dry_run:
        return f"would be converged: {counts}, {repaired} to repair" if repaired else f"converged: {counts}"
    return f"converged: {counts}, {repaired} repaired"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _print_json(seen: Sequence[Seen], found: Sequence[tuple[Stray, bool, str]]) -> None:
    actions = [
        {
            "action": outcome.verb,
            "container": one.name,
            "id": one.id,
            "network": outcome.network,
            "ifname": outcome.ifname,
            "addresses": list(outcome.addresses),
            "ms": outcome.ms,
            "reason": outcome.reason,
            "error": outcome.error,
        }
        for one in seen
        for outcome in one.outcomes
    ]
    render.json(
        {
            "converged": all(one.converged for one in seen),
            "containers": sum(bool(one.attachments) for one in seen),
            "attachments": sum(one.attachments for one in seen),
            "actions": actions,
            "strays": [
                {"what": stray.what, "id": stray.container_id, "ours": ours, "error": problem}
                for stray, ours, problem in found
            ],
        }
    )
