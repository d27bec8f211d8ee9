"""Containers that are being started: looked at before the engine says so, and held until the look is done."""

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
from dockercni.reconcile.reconciler import Outcome, Reconciler
from dockercni.render import escape

log = structlog.get_logger()


# Seconds, at least, that a start is believed in without a word of the engine, which it says at once; where machines are
# so slow that containers may be held for longer it may say it later.
BELIEVED: Final = 10.0
DOUBTED: Final = 1.0  # seconds more if the engine has said something else meanwhile: it may be of an earlier start
_KEPT: Final = 256  # starts that ended before they could be held, until the engine says whether they were any


@dataclass(slots=True, eq=False)
class _Entry:
    """A start; whether its network is ready, the engine has told us of it, and something else has happened.

    After `until` the engine is asked, whether it has told us or not.
    """

    start: Start
    ready: bool = False
    confirmed: bool = False
    touched: bool = True
    told: bool = False
    ready_after: float = 0.0
    until: float = field(init=False)

    def __post_init__(self) -> None:
        # from its own beginning: a daemon that takes it over may come long after that
        self.until = self.start.since + max(BELIEVED, self.start.limit.seconds)

    @property
    def held(self) -> bool:
        """Whether its process stands at its execve now."""
        hold = self.start.hold
        return hold is not None and hold.stopped and not hold.over

    @property
    def over(self) -> bool:
        """Whether there is nothing to be let go any more."""
        return self.start.hold is None or bool(self.start.hold.over)


class StartTracker:
    """The starts under way. Thread-safe; `look` is called for one container by one thread at a time.

    `default` is what the settings say of holding. `ask` has a container looked at,
    `vet` tells its labels from its image's, which may take until the engine answers. `late` is called for each
    entrypoint that begins without the network that it was to be held for.
    """

    def __init__(
        self,
        default: Holding,
        ask: Callable[[str, str], None],
        vet: Callable[[Container], Container],
        late: Callable[[], None],
    ) -> None:
        self._vet = vet
        self._late = late
        self._ended_early: dict[str, _Entry] = {}
        self._default = default
        self._ask = ask
        self._guard = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._past: dict[str, list[_Entry]] = {}

    def reconfigure(self, default: Holding) -> None:
        """From now on the settings say this."""
        self._default = default

    def started(self, start: Start) -> None:
        """A container's namespace is there."""
        with self._guard:
            self._drop(start.container.id)
            self._ended_early.pop(start.container.id, None)
            self._entries[start.container.id] = _Entry(start)
        self._ask(start.container.id, "starting")

    def held(self, container_id: str) -> None:
        """The state of its hold has changed."""
        with self._guard:
            entry = self._entries.get(container_id)
        if entry:
            self._tell(entry)
        self._ask(container_id, "held")

    def touch(self, container_id: str) -> None:
        """It has to be looked at for another reason than its hold."""
        with self._guard:
            if entry := self._entries.get(container_id):
                entry.touched = True

    def missed(self, container: Container, reason: str) -> None:
        """Its program runs before we could do anything."""
        log.warning("not held", container=container.name, id=container.id, reason=reason)
        self._late()

    def ended(self, container_id: str, cgroup: str) -> None:
        """A cgroup was removed: if it was that of a start that the engine has not told us of, nobody else will."""
        with self._guard:
            entry = self._entries.get(container_id)
            if entry is None or entry.start.cgroup != cgroup:
                return
            self._drop(container_id)
        self._ask(container_id, "its start failed, or it ended at once")

    def confirm(self, container_id: str = "") -> None:
        """The engine says that it has started (all of them: it answers now): from now on the engine is asked."""
        with self._guard:
            for entry in [self._entries.get(container_id)] if container_id else list(self._entries.values()):
                if entry:
                    entry.confirmed = entry.touched = True
            early = self._ended_early.pop(container_id, None)
        if early:
            self._tell_missed(early)

    def doubt(self, container_id: str) -> None:
        """The engine says that it has ended or is gone, which may be news of an earlier start: it is asked soon."""
        with self._guard:
            if entry := self._entries.get(container_id):
                entry.until = min(entry.until, time.monotonic() + DOUBTED)

    def unconfirmed(self, container_id: str) -> bool:
        """Whether it is believed to start, and the engine has not said so yet: it has to be looked at again."""
        with self._guard:
            entry = self._entries.get(container_id)
        return entry is not None and not entry.confirmed

    def look(self, reconciler: Reconciler, container_id: str, *, thorough: bool) -> Outcome | None:
        """Look at a container, which may be starting; None if nothing was to be done. Raises as Looker.look."""
        with self._guard:
            entry = self._entries.get(container_id)
            past = self._past.pop(container_id, [])
            if pending := [one for one in past if not one.over]:  # its end is yet to be told, and asks for a look
                self._past[container_id] = pending
        for one in past:
            if one not in pending:
                self._tell(one)
                one.start.close()
        if entry is None:
            return reconciler.look(container_id, thorough=thorough)
        try:
            return self._look(reconciler, container_id, entry)
        finally:
            over = entry.over
            self._tell(entry)
            if entry.confirmed and over:
                with self._guard:
                    if self._entries.get(container_id) is entry:
                        del self._entries[container_id]
                        entry.start.close()

    def _look(self, reconciler: Reconciler, container_id: str, entry: _Entry) -> Outcome | None:
        if not entry.confirmed and not entry.held and time.monotonic() > entry.until:
            # what killed the engine's containerd leaves a process of the runtime that nobody will ever start
            entry.confirmed = entry.touched = True
        if entry.ready and not entry.touched:
            if not entry.held:
                return None
            if reconciler.intact(container_id, entry.start):
                self._let_go(entry)
                return None
        entry.ready = False
        entry.start.container = self._vet(entry.start.container)  # until the engine answers it stays held
        entry.touched = False
        stood = entry.held
        waits = False
        reasons = ["a defect of dockercni, see its log"]
        retry = Retry.LATER
        try:
            seen = reconciler.look(container_id, thorough=False, start=None if entry.confirmed else entry.start)
            waits, reasons, retry = seen.waits, _reasons(seen), seen.retry
            ready = not waits and not reasons
            # what was done while it was on its way to its execve may have been undone on that way
            entry.ready = ready and (not entry.held or reconciler.intact(container_id, entry.start))
        except DockercniError as error:
            reasons, retry = [str(error)], error.retry
            raise
        finally:
            if entry.ready:
                entry.ready_after = entry.ready_after or time.monotonic() - entry.start.since
                if entry.held:
                    self._let_go(entry)
            elif stood and not waits and retry is not Retry.SOON:
                # One that did not stand may have failed for what the runtime did meanwhile: its stop asks for another
                # look. What is missing only for a moment is there again before the limit, most likely.
                self._failed(entry, reasons)
        return seen

    def _let_go(self, entry: _Entry) -> None:
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

    def _tell(self, entry: _Entry) -> None:
        hold = entry.start.hold
        if hold is None or not hold.over:
            return
        with self._guard:
            if entry.told:
                return
            entry.told = True
            unheld = hold.over == "ended" and not hold.stopped
            if unheld and not entry.confirmed:
                self._ended_early[entry.start.container.id] = entry
                if len(self._ended_early) > _KEPT:
                    del self._ended_early[next(iter(self._ended_early))]
        if unheld and entry.confirmed:
            self._tell_missed(entry)
            return
        fine = hold.over == "ended" or (hold.over == "go" and entry.ready_after)
        times = {"ms": round(hold.held * 1000, 1), "ready_ms": round(entry.ready_after * 1000, 1)}
        container = entry.start.container
        say = log.info if fine else log.warning
        say("released", container=container.name, id=container.id, reason=hold.over, **times)
        if not fine and not entry.ready_after:
            self._late()

    def _tell_missed(self, entry: _Entry) -> None:
        self.missed(entry.start.container, "it ran to its end before it could be held")

    def _drop(self, container_id: str) -> None:
        """Forget a start; its descriptors are closed by the next look, since one may be under way."""
        if entry := self._entries.pop(container_id, None):
            self._past.setdefault(container_id, []).append(entry)


def _reasons(seen: Outcome) -> list[str]:
    """What fails, each with its network."""
    failed = [step for step in seen.steps if step.error]
    return [f"network {one.network}: {one.error}" if one.network else one.error for one in failed]
