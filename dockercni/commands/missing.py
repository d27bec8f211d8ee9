"""Networks that containers lack, or get none of, by the daemon's last tries and by a dry run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from dockercni.commands import liveness
from dockercni.docker.api import Listed
from dockercni.errors import DockercniError
from dockercni.model import Unwanted
from dockercni.reconcile.outcome import ADD, DEL, NOTE, Outcome, Step
from dockercni.reconcile.reconciler import Reconciler
from dockercni.status_file import Failing
from dockercni.wiring import App, policy

FAILING = "failing"  # tried in vain, or cannot be tried
WAITING = "waiting"  # not tried yet
EXCLUDED = "excluded"


@dataclass(frozen=True, slots=True)
class Missing:
    """One network that a container does not have, and why; `network` is empty if it is not known which.

    `since`, `times` and `retry_in` (seconds) are about the daemon's tries, if it has tried.
    """

    container: str
    id: str
    network: str
    ifname: str
    state: str
    reason: str
    since: str = ""
    times: int = 0
    retry_in: float | None = None


def missing(
    app: App, running: Sequence[Listed], attached: Collection[str], wanted: Collection[str], *, excluded: bool
) -> Iterator[Missing]:
    """What the running containers lack: with `wanted` only these ids, with `excluded` also those that get no network.

    While a daemon lives it knows what fails, so containers that have an attachment are only reconciled (in a dry run)
    if something of theirs fails; without a daemon, all are. Raises EngineUnavailable, EngineRefused.
    """
    daemon = liveness.of_daemon(app.settings)
    ids = [one.Id for one in running if excluded or one.HostConfig.NetworkMode == "none"]
    ids = [
        one
        for one in ids
        if (not wanted or one in wanted) and (not daemon.alive or one in daemon.failing or one not in attached)
    ]
    if not ids:
        return
    reconciler = app.reconciler(app.client.engine(), policy(app.settings))
    for container_id in ids:
        yield from _of(reconciler, container_id, daemon.failing.get(container_id), excluded=excluded)


def _of(reconciler: Reconciler, container_id: str, tried: Failing | None, *, excluded: bool) -> Iterator[Missing]:
    try:
        outcome = reconciler.reconcile(container_id, thorough=False, dry_run=True)
    except DockercniError as error:
        yield Missing(container_id[:12], container_id, "", "", FAILING, str(error))
        return
    for step in outcome.steps:
        if step.verb == ADD or (step.verb == NOTE and step.error):
            yield _missing(outcome, step, tried)
    if excluded and outcome.running and not outcome.attachments and not outcome.steps:
        container = reconciler.client.container(container_id)
        why = reconciler.wanted(container) if container else None
        if isinstance(why, Unwanted):
            yield Missing(outcome.name, outcome.id, "", "", EXCLUDED, why.reason)


def _missing(outcome: Outcome, step: Step, tried: Failing | None) -> Missing:
    fields = (outcome.name, outcome.id, step.network, step.ifname)
    if not tried:
        return Missing(*fields, FAILING, step.error) if step.error else Missing(*fields, WAITING, step.reason)
    reasons = {one.slot: one.reason for one in tried.parts}
    slots = ((verb, step.network, step.ifname) for verb in (ADD, DEL))  # a DEL that fails prevents the ADD
    known = next((reasons[slot] for slot in slots if slot in reasons), tried.reason)
    return Missing(*fields, FAILING, step.error or known, tried.since, tried.times, tried.retry_in)
