"""Carries out the actions of one container's plan, each as one step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dockercni.cni import CacheEntry
from dockercni.docker.start_watch import Start
from dockercni.errors import DockercniError
from dockercni.linux.netns import Namespace
from dockercni.model import Container, NetworkRequest
from dockercni.reconcile import ports, records
from dockercni.reconcile.attach import Attacher, Target
from dockercni.reconcile.dhcp_leases import LeaseLost
from dockercni.reconcile.failure import retry_of
from dockercni.reconcile.history import PastAttachment, last_on
from dockercni.reconcile.outcome import ADD, DEL, NOTE, Step
from dockercni.reconcile.plan import Action, Attach, Detach, Observed, Pin, Repair, Report, Unpin, Wait
from dockercni.reconcile.records import Record
from dockercni.reconcile.sandbox import Sandboxes


@dataclass(slots=True)
class Execution:
    """Carries actions out for one container; when `lock` is None (a dry run) it only says what would be done.

    `lock` is the descriptor of the container's lock, `namespace` the one that the container runs in, `past` what the
    container had before. `attachments` counts along.
    """

    attacher: Attacher
    sandboxes: Sandboxes
    engine_id: str
    container_id: str
    container: Container | None
    namespace: Namespace | None
    observed: Observed
    recorded: Sequence[Record]
    past: Sequence[PastAttachment]
    lock: int | None
    start: Start | None
    attachments: int = field(init=False)
    _pin: Path | None = field(default=None, init=False)
    _not_detached: set[str] = field(default_factory=set, init=False)  # interfaces whose DEL failed

    def __post_init__(self) -> None:
        self.attachments = len(self.recorded)

    def carry_out(self, action: Action) -> Step:
        """Do it. A failure is not raised: it stands in the step, with when a retry makes sense."""
        step = Step.of(action)
        if isinstance(action, Report | Wait):
            return step
        if isinstance(action, Unpin) and self._not_detached:  # the next DEL has to enter the namespace
            return Step(NOTE, reason="its pin is kept for another DEL")
        if isinstance(action, Attach) and action.request.ifname in self._not_detached:
            # this ADD would fail as well, and its message would hide why the DEL failed
            return Step(NOTE, action.request.network, action.request.ifname, reason="ADD waits for that DEL")
        began = time.monotonic()
        try:
            if self.lock is not None:
                step = self._do(action, step, self.lock)
        except DockercniError as error:
            if isinstance(action, Detach):
                self._not_detached.add(action.attachment.ifname)
            return replace(step, error=str(error), retry=retry_of(error))
        self.attachments += {ADD: 1, DEL: -1}.get(step.verb, 0)
        return replace(step, ms=round((time.monotonic() - began) * 1000, 1))

    def _do(self, action: Attach | Detach | Repair | Pin | Unpin, step: Step, lock: int) -> Step:
        match action:
            case Attach(request):
                entry = self._attach(request, lock)
                published = ports.shown(records.places(entry), fold=True) if request.ports else ()
                return replace(step, addresses=records.addresses(entry), ports=tuple(published))
            case Detach(attachment, alive):
                self.attacher.detach(self._record(attachment.key), alive=alive, lock=lock)
            case Repair(attachment):
                record = self._record(attachment.key)
                try:
                    self.attacher.repair(record, action, self.namespace, lock)
                except LeaseLost:  # another container may have the address by now: the next run attaches anew
                    if not (attachment.ad_hoc or attachment.path):
                        self.attacher.detach(record, alive=True, lock=lock)
                    raise
            case Pin() if self.namespace:
                self.sandboxes.pin(self.container_id, self.namespace)
            case Unpin():
                self.sandboxes.unpin(self.container_id)
        return step

    def _record(self, key: tuple[str, str, str]) -> Record:
        return next(record for record in self.recorded if record.attachment.key == key)

    def _attach(self, request: NetworkRequest, lock: int) -> CacheEntry:
        assert self.container is not None
        assert self.namespace is not None
        assert self.observed.netns_id is not None
        if self._pin is None:
            self.sandboxes.confirm(self.container, self.namespace, self.start)
            self._pin = self.sandboxes.pin(self.container_id, self.namespace)
        owner = records.owner(
            self.observed.netns_id, self.engine_id, self.container.name, unpublished=request.unpublished
        )
        target = Target(self.container_id, str(self._pin), owner, lock)
        entry = self.attacher.attach(target, request, last_on(self.past, request.network, request.ifname))
        self.attacher.remember(entry, self.observed.netns_id)
        return entry
