"""What containers should have and do not, or are not to have: the daemon's last tries, and what a look finds now."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dockercni.commands import liveness
from dockercni.docker.api import Listed
from dockercni.errors import DockercniError
from dockercni.model import Unwanted
from dockercni.reconcile.reconciler import ADD, DEL, NOTE, Outcome, Reconciler, Step
from dockercni.status_file import Failing
from dockercni.wiring import App, policy

FAILING = "failing"  # it was tried in vain, or cannot be tried
WAITING = "waiting"  # nobody has tried yet
EXCLUDED = "excluded"


@dataclass(frozen=True, slots=True)
class Missing:
    """One network that a container does not have (`network` is empty where it cannot be told), and why.

    `since`, `times` and `retry_in` (seconds) are of the daemon's tries, if it has tried.
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
    """What the running containers lack; those that have an attachment are only looked at where something fails.

    With `wanted` only of these ids; with `excluded` also those that are to have nothing. Without a daemon, which would
    know what fails, all are looked at. Raises EngineUnavailable, EngineRefused.
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
        seen = reconciler.look(container_id, thorough=False, dry_run=True)
    except DockercniError as error:
        yield Missing(container_id[:12], container_id, "", "", FAILING, str(error))
        return
    yield from (_missing(seen, one, tried) for one in seen.steps if one.verb == ADD or (one.verb == NOTE and one.error))
    if excluded and seen.running and not seen.attachments and not seen.steps:
        container = reconciler.client.container(container_id)
        why = reconciler.wanted(container) if container else None
        if isinstance(why, Unwanted):
            yield Missing(seen.name, seen.id, "", "", EXCLUDED, why.reason)


def _missing(seen: Outcome, step: Step, tried: Failing | None) -> Missing:
    known = reasons(tried, ADD).get((step.network, step.ifname)) or reasons(tried, DEL).get((step.network, step.ifname))
    fields = (seen.name, seen.id, step.network, step.ifname)
    reason = step.error or known or (tried.reason if tried else "")
    if not reason:
        return Missing(*fields, WAITING, step.reason)
    if not tried:
        return Missing(*fields, FAILING, reason)
    return Missing(*fields, FAILING, reason, tried.since, tried.times, tried.retry_in)


def reasons(tried: Failing | None, verb: str) -> Mapping[tuple[str, str], str]:
    """Why this verb failed, by network and interface."""
    return {(one.network, one.ifname): one.reason for one in tried.parts if one.verb == verb} if tried else {}
