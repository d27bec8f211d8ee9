"""`dockercni check [CONTAINER...]`: whether each recorded attachment is complete."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from dockercni import logs, render
from dockercni.cni import CNIError, parse_list, versions
from dockercni.cni.versions import Feature
from dockercni.commands.containers import reconcile_at, resolve
from dockercni.commands.table import DRIFT, Invocation
from dockercni.reconcile import records
from dockercni.reconcile.outcome import NOTE, Outcome
from dockercni.reconcile.records import Record
from dockercni.wiring import App, policy, wire

OK, SKIPPED, FAILED = "ok", "skipped", "failed"


@dataclass(frozen=True, slots=True)
class Checked:
    """The verdict on one attachment, recorded or missing; `why` is empty unless something is to be said."""

    container: str
    id: str
    network: str
    ifname: str
    verdict: str
    why: str = ""


def run(invocation: Invocation) -> int:
    """Check the attachments of the named containers, or all of them.

    JSON keys: checks [{container, id, network, ifname, verdict, why}].
    """
    logs.configure("error", "auto")
    app = wire(invocation.settings)
    named = list(dict.fromkeys(resolve(app, name) for name in invocation.args.containers))
    engine = app.client.engine()
    ids = named or app.container_ids(engine.mark)
    # the same dry run as in `status` and `sync --dry-run`, so that all of them agree
    outcomes = reconcile_at(app, app.reconciler(engine, policy(app.settings)), ids, dry_run=True)
    found = [checked for one in outcomes for checked in _checked(app, engine.mark, one)]
    if invocation.output == "json":
        render.json({"checks": [asdict(one) for one in found]})
    else:
        for one in found:
            words = " ".join(filter(None, (one.verdict, one.container, one.network, one.ifname)))
            render.line(f"{words}: {one.why}" if one.why else words)
    return DRIFT if any(one.verdict == FAILED for one in found) else 0


def _checked(app: App, engine_id: str, outcome: Outcome) -> Iterator[Checked]:
    wrong: dict[tuple[str, str], str] = {}
    notes: dict[tuple[str, str], str] = {}
    for step in outcome.steps:
        if step.verb != NOTE or step.error or step.drift:
            wrong.setdefault((step.network, step.ifname), step.error or step.reason)
        else:
            notes[step.network, step.ifname] = step.reason
    for record in records.records(app.attacher.cache, engine_id, outcome.id):
        network, ifname = place = record.attachment.network, record.attachment.ifname
        if why := wrong.pop(place, ""):
            yield Checked(outcome.name, outcome.id, network, ifname, FAILED, why)
        elif why := _unasked(record):
            yield Checked(outcome.name, outcome.id, network, ifname, SKIPPED, why)
        else:
            yield Checked(outcome.name, outcome.id, network, ifname, OK, notes.get(place, ""))
    for (network, ifname), why in wrong.items():
        yield Checked(outcome.name, outcome.id, network, ifname, FAILED, why)


def _unasked(record: Record) -> str:
    """Why its plugins cannot be asked by CHECK; empty if they can."""
    try:
        network = parse_list(record.entry.config)
    except CNIError as error:
        return str(error)
    if network.disable_check:
        return "its configuration has disableCheck"
    if not versions.supports(network.cni_version, Feature.CHECK):
        since = "it came with 0.4.0"
        return f'network "{network.name}" is of version {network.cni_version}, which has no CHECK ({since})'
    return ""
