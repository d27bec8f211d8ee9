"""Look at one container, compare what it should have with what it has, act on the difference: the one way in."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import structlog

from dockercni.cni import CacheError
from dockercni.cni.errors import is_shortage
from dockercni.docker.client import Client
from dockercni.docker.start_watch import Start
from dockercni.errors import DockercniError, Retry, Shortage
from dockercni.linux.netns import Namespace
from dockercni.linux.netns_state import NetnsState
from dockercni.model import Container, NetnsId, NetworkRequest, Unwanted
from dockercni.reconcile import gateway, labels, ports, records
from dockercni.reconcile.attach import Attacher, Target
from dockercni.reconcile.history import History, PastAttachment, last_on
from dockercni.reconcile.leases import LeaseLost
from dockercni.reconcile.observation import Observation
from dockercni.reconcile.plan import Action, Attach, Detach, Observed, Pin, Repair, Report, Unpin, Wait, plan, repairs
from dockercni.reconcile.records import Record
from dockercni.reconcile.sandbox import Sandboxes
from dockercni.reconcile.state import StateError

ADD: Final = "ADD"
DEL: Final = "DEL"
REPAIR: Final = "REPAIR"
PIN: Final = "PIN"
UNPIN: Final = "UNPIN"
NOTE: Final = "NOTE"
WAIT: Final = "WAIT"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done, failed, is worth knowing, or in a dry run would be done.

    `verb` is ADD, DEL, REPAIR, PIN, UNPIN, NOTE, or WAIT for what the engine has to say first.
    `drift` marks a NOTE of something that is not as it should be; `retry` says when what failed may succeed.
    """

    verb: str
    network: str = ""
    ifname: str = ""
    addresses: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    ms: float = 0.0
    reason: str = ""
    error: str = ""
    retry: Retry = Retry.NEVER
    drift: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a look at one container came to. `attachments` are those that it has afterwards."""

    id: str
    name: str
    running: bool
    attachments: int
    steps: tuple[Step, ...]

    @property
    def converged(self) -> bool:
        """Whether the container now has what it should have, and nothing else."""
        return not any(step.error or step.drift for step in self.steps)

    @property
    def retry(self) -> Retry:
        """When another look may do better."""
        return max((step.retry for step in self.steps), default=Retry.NEVER)

    @property
    def waits(self) -> bool:
        """Whether the engine has to say something first."""
        return any(step.verb == WAIT for step in self.steps)


@dataclass(frozen=True, slots=True)
class Policy:
    """Which containers are attached: the setting `attach`, and those that ran already at our very first start.

    `spared` has, for a container's id, the moment of the start that is left alone.
    """

    attach: str = "all"
    spared: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Looks at containers. Thread-safe; two looks at the same container wait for each other by its lock.

    `engine_id` is the mark of the engine behind `client`: what another engine's containers have is left alone.
    `host_ip` is where it publishes ports without an address.
    """

    client: Client
    engine_id: str
    sandboxes: Sandboxes
    attacher: Attacher
    history: History
    policy: Policy
    host_ip: str = ""

    def look(
        self,
        container_id: str,
        *,
        thorough: bool = True,
        dry_run: bool = False,
        by_hand: bool = False,
        start: Start | None = None,
    ) -> Outcome:
        """Look at one container and act; with `dry_run` stop before acting.

        A `thorough` look also looks at the host's links and firewall rules, and asks plugins that we do not know for a
        CHECK. One that somebody asked for `by_hand` undoes what the container did to its own network. With `start`,
        which says of a starting container what the engine does not yet, the engine is not asked. What fails stands in
        the outcomes. Raises EngineUnavailable, EngineRefused, LockHeld, StateError, Shortage.
        """
        with _shortages():
            if dry_run:
                return self._look(container_id, None, start, thorough=thorough, by_hand=by_hand)
            with self.attacher.locks.container(container_id) as lock:
                return self._look(container_id, lock, start, thorough=thorough, by_hand=by_hand)

    def intact(self, container_id: str, start: Start) -> bool:
        """Whether what a container that is being started was given is still there; what can be put back is.

        Costs less than a look, and serves while the container stands still. Raises LockHeld, Shortage.
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
                        log.warning("not put back", id=container_id, ifname=repair.attachment.ifname, reason=str(error))
                        return False
                    log.info("put back", id=container_id, ifname=repair.attachment.ifname, reason=repair.reason)
            return True

    def _look(
        self, container_id: str, lock: int | None, start: Start | None, *, thorough: bool, by_hand: bool
    ) -> Outcome:
        container = start.container if start else self.client.container(container_id)
        if container and container.id != container_id:
            container = None  # a namespace that was attached by hand, under what is also a container's name
        past = self.history.recall(container_id)
        recorded, legible = self._recorded(container_id, past)
        steps: list[Step] = []
        with self.sandboxes.of(container, start) as namespace:
            observed = self._observation.of(container_id, container, namespace, recorded, start, thorough=thorough)
            try:
                wanted = self.wanted(container, recorded)
            except DockercniError as error:
                steps.append(Step(NOTE, error=str(error), retry=_retry(error)))
                wanted = None
            execution = _Execution(self, container_id, container, namespace, observed, recorded, past, lock, start)
            actions = plan(wanted, [record.attachment for record in recorded], observed, by_hand=by_hand)
            steps.extend(map(execution.carry_out, actions))
            if thorough and observed.netns_id and all(isinstance(action, Report) for action in actions):
                steps.extend(self._vouched(recorded, lock, whole=not actions))
                if lock is not None:
                    self._refresh(container_id, recorded, past)
        steps.extend(self._unpublished(container_id, wanted))
        if not legible:
            steps.extend(self._unreadable(container_id))
        if container is None and lock is not None and not execution.attachments and not observed.inhabited:
            self.history.forget(container_id)
        name = container.name if container else _recorded_name(recorded) or container_id[:12]
        return Outcome(container_id, name, observed.netns_id is not None, execution.attachments, tuple(steps))

    @property
    def _observation(self) -> Observation:
        return Observation(self.sandboxes, self.attacher.rules, self.attacher.host, self.attacher.leases)

    def _recorded(self, container_id: str, past: Sequence[PastAttachment]) -> tuple[list[Record], bool]:
        """What stands in the cache, and what we remember attaching but stands there no more; and if all was legible."""
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
        """Ports that the container asks for and that lead nowhere, as far as its records tell after what was done."""
        for request in wanted if isinstance(wanted, Sequence) else ():
            reason = request.unpublished
            with contextlib.suppress(CacheError):  # reported as unreadable
                entry = self.attacher.cache.read(request.network, container_id, request.ifname)
                if request.ports and entry and entry.complete:
                    reason = records.unpublished(entry)
            if reason:
                yield Step(NOTE, request.network, request.ifname, reason=reason, drift=True)

    def _unreadable(self, container_id: str) -> Iterator[Step]:
        """Cache entries with this container's id in their name that cannot be read: not provably ours, so reported."""
        for error in self.attacher.cache.broken(container_id):
            yield Step(NOTE, reason=str(error), drift=True)

    def _vouched(self, recorded: Sequence[Record], lock: int | None, *, whole: bool) -> Iterator[Step]:
        """Traffic passes; plugins whose traces we cannot read ourselves are asked for a CHECK.

        They would complain of what the container did itself, so only where all is `whole`.
        """
        for record in recorded:
            attachment = record.attachment
            try:
                if lock is not None:
                    self.attacher.let_through(record)
                if whole:
                    self.attacher.check_unknown(record, lock)
            except DockercniError as error:
                retry = Retry.SOON if is_shortage(error) else Retry.NEVER
                yield Step(NOTE, attachment.network, attachment.ifname, reason=str(error), retry=retry, drift=True)

    def _refresh(self, container_id: str, recorded: Sequence[Record], past: Sequence[PastAttachment]) -> None:
        """Remember what could not be remembered at its ADD: the disk was full, or we were killed before."""
        known = {(one.network, one.ifname, one.netns_id) for one in past if one.attached}
        for record in recorded:
            one = record.attachment
            if not (one.by_hand or one.path or (one.network, one.ifname, one.netns_id) in known):
                addresses = records.addresses(record.entry)
                self.remember(container_id, NetworkRequest(one.network, one.ifname), addresses, one.netns_id)

    def remember(
        self, container_id: str, request: NetworkRequest, addresses: tuple[str, ...], netns_id: NetnsId
    ) -> None:
        """Note what the container has now: to ask for it again, and to know it is ours should its record be lost."""
        entry = self.attacher.cache.read(request.network, container_id, request.ifname)
        capability_args = dict(entry.capability_args) if entry else {}
        served = entry.served if entry else ()
        mac = records.mac(entry) if entry else ""
        past = PastAttachment(
            request.network,
            request.ifname,
            addresses,
            netns_id.boot,
            netns_id.cookie,
            True,
            capability_args,
            served,
            mac,
        )
        try:
            self.history.remember(container_id, past)
        except StateError as error:  # it is attached all the same
            log.warning("not remembered", id=container_id, network=request.network, reason=str(error))

    def wanted(
        self, container: Container | None, recorded: Sequence[Record] = ()
    ) -> Sequence[NetworkRequest] | Unwanted | None:
        """What the container is to have, or why nothing; None if it does not run. Raises DockercniError kinds."""
        if container is None or not container.running:
            return None
        if self.policy.spared.get(container.id) == container.started_at and not recorded:
            return Unwanted("it ran already when dockercni was first started; dockercni sync attaches it")
        wanted = labels.requests(container, self.policy.attach)
        if isinstance(wanted, Unwanted):
            return wanted
        networks = self.attacher.networks.catalogue()
        named = [replace(request, network=networks.get(request.network).name) for request in wanted]
        placed = ports.place(named, container.ports, lambda name: ports.obstacle(networks.get(name)), self.host_ip)
        return gateway.ranked(placed, labels.gateway(container), lambda name: gateway.expected(networks.get(name)))


class _Execution:
    """Carries the actions of one look out, or only tells them when `lock` is None."""

    def __init__(
        self,
        reconciler: Reconciler,
        container_id: str,
        container: Container | None,
        namespace: Namespace | None,
        observed: Observed,
        recorded: Sequence[Record],
        past: Sequence[PastAttachment],
        lock: int | None,
        start: Start | None,
    ) -> None:
        self._start = start
        self._reconciler = reconciler
        self._id = container_id
        self._container = container
        self._namespace = namespace
        self._observed = observed
        self._records = {record.attachment.key: record for record in recorded}
        self._had = past
        self._lock = lock
        self._pin: Path | None = None
        self._stuck: set[str] = set()  # interfaces whose DEL failed: the next one will want to enter the namespace
        self.attachments = len(recorded)

    def carry_out(self, action: Action) -> Step:
        step = _announced(action)
        if isinstance(action, Report | Wait):
            return step
        if isinstance(action, Unpin) and self._stuck:
            return Step(NOTE, reason="its pin is kept for another DEL")
        if isinstance(action, Attach) and action.request.ifname in self._stuck:  # it would fail, and hide what did
            return Step(NOTE, action.request.network, action.request.ifname, reason="ADD waits for that DEL")
        began = time.monotonic()
        try:
            if self._lock is not None:
                step = replace(step, addresses=self._do(action, self._lock))
                if isinstance(action, Attach) and action.request.ports:
                    step = replace(step, ports=self._reached_at(action.request))
        except DockercniError as error:
            if isinstance(action, Detach):
                self._stuck.add(action.attachment.ifname)
            return replace(step, error=str(error), retry=_retry(error))
        self.attachments += {ADD: 1, DEL: -1}.get(step.verb, 0)
        return replace(step, ms=round((time.monotonic() - began) * 1000, 1))

    def _do(self, action: Attach | Detach | Repair | Pin | Unpin, lock: int) -> tuple[str, ...]:
        reconciler = self._reconciler
        match action:
            case Attach(request):
                return self._attach(request, lock)
            case Detach(attachment, alive):
                reconciler.attacher.detach(self._records[attachment.key], alive=alive, lock=lock)
            case Repair(attachment):
                record = self._records[attachment.key]
                try:
                    reconciler.attacher.repair(record, action, self._namespace, lock)
                except LeaseLost:  # somebody else may have the address by now: the next look attaches it anew
                    if not (attachment.by_hand or attachment.path):
                        reconciler.attacher.detach(record, alive=True, lock=lock)
                    raise
            case Pin() if self._namespace:
                reconciler.sandboxes.pin(self._id, self._namespace)
            case Unpin():
                reconciler.sandboxes.unpin(self._id)
        return ()

    def _reached_at(self, request: NetworkRequest) -> tuple[str, ...]:
        """Where the host leads to the new attachment: not in each family where a port was asked for."""
        entry = self._reconciler.attacher.cache.read(request.network, self._id, request.ifname)
        return tuple(ports.shown(records.places(entry), fold=True)) if entry else ()

    def _attach(self, request: NetworkRequest, lock: int) -> tuple[str, ...]:
        assert self._container is not None
        assert self._namespace is not None
        assert self._observed.netns_id is not None
        if self._pin is None:
            self._reconciler.sandboxes.confirm(self._container, self._namespace, self._start)
            self._pin = self._reconciler.sandboxes.pin(self._id, self._namespace)
        owner = records.owner(
            self._observed.netns_id, self._reconciler.engine_id, self._container.name, unpublished=request.unpublished
        )
        target = Target(self._id, str(self._pin), owner, lock)
        again = last_on(self._had, request.network, request.ifname)
        result = self._reconciler.attacher.attach(target, request, again)
        addresses = tuple(str(ip.address) for ip in result.ips)
        self._reconciler.remember(self._id, request, addresses, self._observed.netns_id)
        return addresses


@contextlib.contextmanager
def _shortages() -> Iterator[None]:
    """Have what the kernel says where it has nothing left at this moment told from defects, and from what lasts.

    Raises Shortage.
    """
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


def _retry(error: DockercniError) -> Retry:
    """When it may succeed: what the machine lacks is there again soon, whichever part of the work it was for."""
    return Retry.SOON if is_shortage(error) else error.retry


def _announced(action: Action) -> Step:
    match action:
        case Attach(request, reason):
            return Step(ADD, request.network, request.ifname, reason=reason)
        case Detach(attachment, _, reason):
            return Step(DEL, attachment.network, attachment.ifname, reason=reason)
        case Repair(attachment, reason=reason):
            return Step(REPAIR, attachment.network, attachment.ifname, reason=reason)
        case Pin(reason):
            return Step(PIN, reason=reason)
        case Unpin(reason):
            return Step(UNPIN, reason=reason)
        case Report(reason, drift, attachment):
            network, ifname = (attachment.network, attachment.ifname) if attachment else ("", "")
            return Step(NOTE, network, ifname, reason=reason, drift=drift)
        case Wait(reason):
            return Step(WAIT, reason=reason, drift=True)


def _recorded_name(recorded: Sequence[Record]) -> str:
    return next((name for record in recorded if (name := (record.entry.owner or {}).get(records.NAME, ""))), "")
