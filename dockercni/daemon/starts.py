"""Containers that are being started: reconciled before the engine reports them, and held until their network is ready.

One start and its hold, from left to right; the gate (another process) traces, this module decides:

    cgroup appears ──▶ started ──▶ on its way to execve ──▶ stopped at execve ──▶ released ──▶ confirmed by the engine
                          │                │                      │                  ▲
                          │ reconcile      │ the runtime may      │ ready: intact? ──┤ go
                          │                │ undo what was done   │ failed: on-failure = leave ── go
                          │                │ (Docker 20.10 turns  │                      = stop ─── kill
                          │                │ IPv6 off)            │                      = hold ─── wait, then limit
                          ▼                ▼                      ▼
                       ended: its cgroup was removed before the engine confirmed the start

- A start is believed for `BELIEVED` seconds without a word from the engine, which reports a start only after the
  entrypoint runs. After that, or `DOUBTED` seconds after the engine reports an end, the engine is asked again.
- `ready` says that the network is complete; `touched` that an event asked for another run; a ready start that stops at
  its execve is only checked (`Reconciler.intact`), since it stands still meanwhile.
- `over` (of the hold) is "go", "limit", "ended" or what went wrong. It is logged once; the descriptors are closed when
  the engine has confirmed the start too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from dockercni.docker.start_watch import Start
from dockercni.errors import DockercniError, Retry
from dockercni.model import Container
from dockercni.reconcile import labels
from dockercni.reconcile.labels import Holding
from dockercni.reconcile.outcome import Outcome
from dockercni.reconcile.reconciler import Reconciler
from dockercni.render import escape

log = structlog.get_logger()


# Seconds, at least, for which a start is believed although the engine has not confirmed it. The engine confirms at
# once; where machines are so slow that containers may be held for longer, it may confirm later.
BELIEVED: Final = 10.0
DOUBTED: Final = 1.0  # seconds more if the engine reports an end meanwhile: that may be of an earlier start
_MAX_UNHELD: Final = 256  # starts that ended before they could be held, kept until the engine confirms them


@dataclass(slots=True, eq=False)
class _Entry:
    """A start, and what is known of it; see the head of the module. After `until` the engine is asked in any case."""

    start: Start
    ready: bool = False
    confirmed: bool = False
    touched: bool = True
    reported: bool = False
    ready_after: float = 0.0
    until: float = field(init=False)

    def __post_init__(self) -> None:
        # counted from the start itself: a restarted daemon may take it over long after that
        self.until = self.start.since + max(BELIEVED, self.start.limit.seconds)

    @property
    def held(self) -> bool:
        """Whether its process stands at its execve now."""
        hold = self.start.hold
        return hold is not None and hold.stopped and not hold.over

    @property
    def over(self) -> bool:
        """Whether there is no hold any more."""
        return self.start.hold is None or bool(self.start.hold.over)


class StartTracker:
    """The starts under way. Thread-safe; `reconcile` is called for one container by one thread at a time.

    `default` is how long to hold by the settings. `add` puts a container (id, reason) into the work queue, `vet`
    separates its own labels from its image's, which may have to wait for the engine. `late` is called for each
    entrypoint that began without the network that it was to be held for.
    """

    def __init__(
        self,
        default: Holding,
        add: Callable[[str, str], None],
        vet: Callable[[Container], Container],
        late: Callable[[], None],
    ) -> None:
        self._default = default
        self._add = add
        self._vet = vet
        self._late = late
        self._guard = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._past: dict[str, list[_Entry]] = {}
        self._unheld: dict[str, _Entry] = {}

    def reconfigure(self, default: Holding) -> None:
        """The settings changed."""
        self._default = default

    def started(self, start: Start) -> None:
        """A container's namespace exists."""
        with self._guard:
            self._drop(start.container.id)
            self._unheld.pop(start.container.id, None)
            self._entries[start.container.id] = _Entry(start)
        self._add(start.container.id, "starting")

    def held(self, container_id: str) -> None:
        """The state of its hold has changed."""
        with self._guard:
            entry = self._entries.get(container_id)
        if entry:
            self._report(entry)
        self._add(container_id, "held")

    def touch(self, container_id: str) -> None:
        """It has to be reconciled for another reason than its hold."""
        with self._guard:
            if entry := self._entries.get(container_id):
                entry.touched = True

    def missed(self, container: Container, reason: str) -> None:
        """Its program runs already, and could not be held."""
        log.warning("not held", container=container.name, id=container.id, reason=reason)
        self._late()

    def ended(self, container_id: str, cgroup: str) -> None:
        """A cgroup was removed. If the engine has not confirmed its start, no other event will report the end."""
        with self._guard:
            entry = self._entries.get(container_id)
            if entry is None or entry.start.cgroup != cgroup:
                return
            self._drop(container_id)
        self._add(container_id, "its start failed, or it ended at once")

    def confirm(self, container_id: str = "") -> None:
        """The engine reports that it has started (without an id: it answers now), so from now on it is asked."""
        with self._guard:
            for entry in [self._entries.get(container_id)] if container_id else list(self._entries.values()):
                if entry:
                    entry.confirmed = entry.touched = True
            unheld = self._unheld.pop(container_id, None)
        if unheld:
            self._report_missed(unheld)

    def doubt(self, container_id: str) -> None:
        """The engine reports that it ended or was removed; since that may be of an earlier start, it is asked soon."""
        with self._guard:
            if entry := self._entries.get(container_id):
                entry.until = min(entry.until, time.monotonic() + DOUBTED)

    def unconfirmed(self, container_id: str) -> bool:
        """Whether it is starting and the engine has not confirmed that: another run is needed later."""
        with self._guard:
            entry = self._entries.get(container_id)
        return entry is not None and not entry.confirmed

    def reconcile(self, reconciler: Reconciler, container_id: str, *, thorough: bool) -> Outcome | None:
        """Reconcile a container, which may be starting; None if nothing was to be done. Raises as the Reconciler."""
        with self._guard:
            entry = self._entries.get(container_id)
            past = self._past.pop(container_id, [])
            if pending := [one for one in past if not one.over]:  # its end will be reported, and add a run
                self._past[container_id] = pending
        for one in past:
            if one not in pending:
                self._report(one)
                one.start.close()
        if entry is None:
            return reconciler.reconcile(container_id, thorough=thorough)
        try:
            return self._reconcile(reconciler, container_id, entry)
        finally:
            over = entry.over
            self._report(entry)
            if entry.confirmed and over:
                with self._guard:
                    if self._entries.get(container_id) is entry:
                        del self._entries[container_id]
                        entry.start.close()

    def _reconcile(self, reconciler: Reconciler, container_id: str, entry: _Entry) -> Outcome | None:
        if not entry.confirmed and not entry.held and time.monotonic() > entry.until:
            # If the engine's containerd is killed, a process of the runtime stays behind that will never start.
            entry.confirmed = entry.touched = True
        if entry.ready and not entry.touched:
            if not entry.held:
                return None
            if reconciler.intact(container_id, entry.start):
                self._release(entry)
                return None
        entry.ready = False
        entry.start.container = self._vet(entry.start.container)  # until the engine answers it stays held
        entry.touched = False
        stood = entry.held
        waits = False
        reasons = ["a defect of dockercni, see its log"]
        retry = Retry.LATER
        try:
            outcome = reconciler.reconcile(container_id, thorough=False, start=None if entry.confirmed else entry.start)
            waits, reasons, retry = outcome.waits, _reasons(outcome), outcome.retry
            ready = not waits and not reasons
            # The runtime may have undone what was done while the process was on its way to its execve.
            entry.ready = ready and (not entry.held or reconciler.intact(container_id, entry.start))
        except DockercniError as error:
            reasons, retry = [str(error)], error.retry
            raise
        finally:
            if entry.ready:
                entry.ready_after = entry.ready_after or time.monotonic() - entry.start.since
                if entry.held:
                    self._release(entry)
            elif stood and not waits and retry is not Retry.SOON:
                # If it did not stand still before, the runtime may have caused the failure, and its stop at the execve
                # adds another run. A shortage most likely passes before the limit.
                self._failed(entry, reasons)
        return outcome

    def _release(self, entry: _Entry) -> None:
        if entry.start.hold:
            entry.start.hold.go()

    def _failed(self, entry: _Entry, reasons: Sequence[str]) -> None:
        hold = entry.start.hold
        if hold is None or hold.over:
            return
        match labels.usable(entry.start.container, self._default).on_failure:
            case "leave":
                hold.go()
            case "stop":
                container = entry.start.container
                log.warning("stopped", container=container.name, id=container.id, reason="on-failure is stop")
                hold.kill("\n".join(f"dockercni: {escape(reason)}" for reason in reasons))

    def _report(self, entry: _Entry) -> None:
        """Log the end of a hold, once."""
        hold = entry.start.hold
        if hold is None or not hold.over:
            return
        with self._guard:
            if entry.reported:
                return
            entry.reported = True
            unheld = hold.over == "ended" and not hold.stopped
            if unheld and not entry.confirmed:  # only the engine can tell whether a program ran at all
                self._unheld[entry.start.container.id] = entry
                if len(self._unheld) > _MAX_UNHELD:
                    del self._unheld[next(iter(self._unheld))]
        if unheld and entry.confirmed:
            self._report_missed(entry)
            return
        fine = hold.over == "ended" or (hold.over == "go" and entry.ready_after)
        times = {"ms": round(hold.held * 1000, 1), "ready_ms": round(entry.ready_after * 1000, 1)}
        container = entry.start.container
        say = log.info if fine else log.warning
        say("released", container=container.name, id=container.id, reason=hold.over, **times)
        if not fine and not entry.ready_after:
            self._late()

    def _report_missed(self, entry: _Entry) -> None:
        self.missed(entry.start.container, "it ran to its end before it could be held")

    def _drop(self, container_id: str) -> None:
        """Forget a start; the next run closes its descriptors, since one may be using them now."""
        if entry := self._entries.pop(container_id, None):
            self._past.setdefault(container_id, []).append(entry)


def _reasons(outcome: Outcome) -> list[str]:
    """What fails, each with its network."""
    failed = [step for step in outcome.steps if step.error]
    return [f"network {one.network}: {one.error}" if one.network else one.error for one in failed]
