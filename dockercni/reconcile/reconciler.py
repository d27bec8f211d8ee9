"""Reconciles one container: compares what it should have with what it has, and acts on the difference."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from dockercni.cni import CacheError
from dockercni.cni.errors import is_shortage
from dockercni.docker.client import Client
from dockercni.docker.start_watch import Start
from dockercni.errors import DockercniError, Shortage
from dockercni.linux.netns_state import NetnsState
from dockercni.model import Container, NetworkRequest, Unwanted
from dockercni.reconcile import gateway, labels, ports, records
from dockercni.reconcile.attach import Attacher
from dockercni.reconcile.execution import Execution
from dockercni.reconcile.failure import retry_of
from dockercni.reconcile.history import History, PastAttachment
from dockercni.reconcile.observation import Observation
from dockercni.reconcile.outcome import NOTE, Outcome, Step
from dockercni.reconcile.plan import Repair, Report, plan, repairs
from dockercni.reconcile.records import Record
from dockercni.reconcile.sandbox import Sandboxes

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AttachPolicy:
    """Which containers are attached: the setting `attach`, and those that ran already at our very first start.

    `spared` maps the id of such a container to the moment (`started_at`) of the start that stays unattached.
    """

    attach: str = "all"
    spared: Mapping[str, str] = field(default_factory=dict)

    def spares(self, container: Container) -> bool:
        """Whether the container still runs as it did before our very first start."""
        return self.spared.get(container.id) == container.started_at


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Reconciles containers. Thread-safe; two runs for the same container exclude each other by its lock.

    `engine_id` is the mark of the engine behind `client`: containers of another engine are not touched. `host_ip` is
    the address at which the engine publishes ports that name none.
    """

    client: Client
    engine_id: str
    sandboxes: Sandboxes
    attacher: Attacher
    history: History
    policy: AttachPolicy
    host_ip: str = ""

    def reconcile(
        self,
        container_id: str,
        *,
        thorough: bool = True,
        dry_run: bool = False,
        forced: bool = False,
        start: Start | None = None,
    ) -> Outcome:
        """Observe one container, plan, and carry the plan out; with `dry_run` only say what would be done.

        A `thorough` run also examines the host's links and firewall rules, and asks unknown plugins for a CHECK. A
        `forced` one undoes what the container did to its own network. With `start` the container is being started:
        `start` replaces the engine's answer, which comes later. What fails stands in the outcome's steps. Raises
        EngineUnavailable, EngineRefused, LockHeld, StateError, Shortage.
        """
        with _shortages():
            if dry_run:
                return self._reconcile(container_id, None, start, thorough=thorough, forced=forced)
            with self.attacher.locks.container(container_id) as lock:
                return self._reconcile(container_id, lock, start, thorough=thorough, forced=forced)

    def intact(self, container_id: str, start: Start) -> bool:
        """Whether a starting container still has what it was given; repairs what can be repaired.

        Cheaper than `reconcile`, for the moment before a held container is released. Raises LockHeld, Shortage.
        """
        with _shortages(), self.attacher.locks.container(container_id) as lock:
            broken: list[CacheError] = []
            recorded = list(records.records(self.attacher.cache, self.engine_id, container_id, broken.append))
            if broken:
                return False
            shown = self._observation.inside(NetnsState.read(start.namespace), recorded)
            if not all(shown.name_of(record.attachment) for record in recorded):
                return False
            entries = {record.attachment.key: record for record in recorded}
            for repair in repairs([record.attachment for record in recorded], shown):
                if isinstance(repair, Repair):
                    try:
                        self.attacher.repair(entries[repair.attachment.key], repair, start.namespace, lock)
                    except DockercniError as error:
                        log.warning("not repaired", id=container_id, ifname=repair.attachment.ifname, reason=str(error))
                        return False
                    log.info("repaired", id=container_id, ifname=repair.attachment.ifname, reason=repair.reason)
            return True

    def wanted(
        self, container: Container | None, recorded: Sequence[Record] = ()
    ) -> Sequence[NetworkRequest] | Unwanted | None:
        """What the container should have, or why nothing; None if it does not run.

        Raises LabelError, UnknownNetwork, NetworkUnavailable.
        """
        if container is None or not container.running:
            return None
        if self.policy.spares(container) and not recorded:
            return Unwanted("it ran already when dockercni was first started; dockercni sync attaches it")
        wanted = labels.requests(container, self.policy.attach)
        if isinstance(wanted, Unwanted):
            return wanted
        networks = self.attacher.networks.catalogue()
        named = [replace(request, network=networks.get(request.network).name) for request in wanted]
        placed = ports.place(named, container.ports, lambda name: ports.obstacle(networks.get(name)), self.host_ip)
        return gateway.ranked(placed, labels.gateway(container), lambda name: gateway.expected(networks.get(name)))

    def _reconcile(
        self, container_id: str, lock: int | None, start: Start | None, *, thorough: bool, forced: bool
    ) -> Outcome:
        container = start.container if start else self.client.container(container_id)
        if container and container.id != container_id:
            container = None  # the id of an ad hoc attachment is also this container's name
        past = self.history.recall(container_id)
        recorded, legible = self._recorded(container_id, past)
        steps: list[Step] = []
        with self.sandboxes.of(container, start) as namespace:
            observed = self._observation.of(container_id, container, namespace, recorded, start, thorough=thorough)
            try:
                wanted = self.wanted(container, recorded)
            except DockercniError as error:
                steps.append(Step(NOTE, error=str(error), retry=retry_of(error)))
                wanted = None
            execution = Execution(
                self.attacher,
                self.sandboxes,
                self.engine_id,
                container_id,
                container,
                namespace,
                observed,
                recorded,
                past,
                lock,
                start,
            )
            actions = plan(wanted, [record.attachment for record in recorded], observed, forced=forced)
            steps.extend(map(execution.carry_out, actions))
            if thorough and observed.lives and all(isinstance(action, Report) for action in actions):
                steps.extend(self._checked(recorded, lock, whole=not actions))
                if lock is not None:
                    self._complete_history(recorded, past)
        steps.extend(self._unpublished(container_id, wanted))
        if not legible:
            steps.extend(self._unreadable(container_id))
        if container is None and lock is not None and not execution.attachments and not observed.inhabited:
            self.history.forget(container_id)
        name = container.name if container else _recorded_name(recorded) or container_id[:12]
        return Outcome(container_id, name, observed.lives, execution.attachments, tuple(steps))

    @property
    def _observation(self) -> Observation:
        return Observation(self.sandboxes, self.attacher.rules, self.attacher.host, self.attacher.leases)

    def _recorded(self, container_id: str, past: Sequence[PastAttachment]) -> tuple[list[Record], bool]:
        """The records in the cache and those that the history proves to be lost; and whether all could be read."""
        broken: list[CacheError] = []
        found = list(records.records(self.attacher.cache, self.engine_id, container_id, broken.append))
        known = {(record.attachment.network, record.attachment.ifname) for record in found}
        for one in past:
            if one.attached and (one.network, one.ifname) not in known:
                try:
                    network = self.attacher.networks.catalogue().get(one.network)
                except DockercniError as error:
                    log.warning("lost", id=container_id, network=one.network, ifname=one.ifname, reason=str(error))
                    continue
                netns = str(self.sandboxes.pin_path(container_id))
                found.append(records.lost(one, container_id, network, netns))
        return found, not broken

    def _unpublished(self, container_id: str, wanted: Sequence[NetworkRequest] | Unwanted | None) -> Iterator[Step]:
        """Ports that the container asks for and that lead nowhere, by the records as they are after all steps."""
        for request in wanted if isinstance(wanted, Sequence) else ():
            reason = request.unpublished
            with contextlib.suppress(CacheError):  # reported as unreadable
                entry = self.attacher.cache.read(request.network, container_id, request.ifname)
                if request.ports and entry and entry.complete:
                    reason = records.unpublished(entry)
            if reason:
                yield Step(NOTE, request.network, request.ifname, reason=reason, drift=True)

    def _unreadable(self, container_id: str) -> Iterator[Step]:
        """Cache entries that cannot be read: nothing proves that dockercni made them, so they are only reported."""
        for error in self.attacher.cache.broken(container_id):
            yield Step(NOTE, reason=str(error), drift=True)

    def _checked(self, recorded: Sequence[Record], lock: int | None, *, whole: bool) -> Iterator[Step]:
        """Open FORWARD for each attachment, and ask plugins for a CHECK whose results the kernel cannot confirm.

        CHECK would complain about what the container did itself, so it is asked only if nothing is missing (`whole`).
        """
        for record in recorded:
            attachment = record.attachment
            try:
                if lock is not None:
                    self.attacher.open_forwarding(record)
                if whole:
                    self.attacher.check_unknown(record, lock)
            except DockercniError as error:
                yield Step(
                    NOTE, attachment.network, attachment.ifname, reason=str(error), retry=retry_of(error), drift=True
                )

    def _complete_history(self, recorded: Sequence[Record], past: Sequence[PastAttachment]) -> None:
        """Remember what could not be remembered at its ADD: the disk was full, or the process was killed before."""
        known = {(one.network, one.ifname, one.netns_id) for one in past if one.attached}
        for record in recorded:
            one = record.attachment
            if not (one.ad_hoc or one.path or (one.network, one.ifname, one.netns_id) in known):
                self.attacher.remember(record.entry, one.netns_id)


@contextlib.contextmanager
def _shortages() -> Iterator[None]:
    """Turn errors that mean the machine has nothing left at this moment into Shortage, which is retried soon."""
    try:
        yield
    except OSError as error:
        if not is_shortage(error):
            raise
        raise Shortage(f"not now: {error.strerror}") from error
    except DockercniError as error:
        if not is_shortage(error):
            raise
        raise Shortage(str(error)) from error


def _recorded_name(recorded: Sequence[Record]) -> str:
    return next((name for record in recorded if (name := (record.entry.owner or {}).get(records.NAME, ""))), "")
