"""Containers that are being started: looked at before the engine says so, and held until the look is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from dockercni.engine.starts import Start
from dockercni.errors import LabelError
from dockercni.kernel.hold import Limit
from dockercni.model import Container, Unwanted
from dockercni.reconcile import labels
from dockercni.reconcile.labels import Holding
from dockercni.reconcile.look import Looker, Seen

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class _Entry:
    """A start; whether its network is ready, the engine has told us of it, and something else has happened."""

    start: Start
    ready: bool = False
    confirmed: bool = False
    touched: bool = True
    told: bool = False
    ready_after: float = 0.0

    @property
    def held(self) -> bool:
        """Whether its process stands at its execve now."""
        hold = self.start.hold
        return hold is not None and hold.stopped and not hold.over

    @property
    def over(self) -> bool:
        """Whether there is nothing to be let go any more."""
        return self.start.hold is None or bool(self.start.hold.over)


class Starting:
    """The starts under way. Thread-safe; `look` is called for one container by one thread at a time.

    `default` is what the settings say of holding, `attach` the setting of that name. `ask` has a container looked at.
    """

    def __init__(self, default: Holding, attach: str, ask: Callable[[str, str], None]) -> None:
        self.may_hold = True
        self._default = default
        self._attach = attach
        self._ask = ask
        self._guard = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._past: dict[str, list[_Entry]] = {}

    def reconfigure(self, default: Holding, attach: str) -> None:
        """From now on the settings say this."""
        self._default = default
        self._attach = attach

    def wanted(self, container: Container) -> Limit | None:
        """For how long a container that appears is to be held; None if it is not to be attached."""
        try:
            if isinstance(labels.requests(container, self._attach), Unwanted):
                return None
            holding = labels.holding(container, self._default)
        except LabelError:  # told when it has started
            return None
        return Limit(holding.seconds if self.may_hold else 0.0, kill=holding.on_failure == "stop")

    def started(self, start: Start) -> None:
        """A container's namespace is there."""
        with self._guard:
            self._drop(start.container.id)
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

    def look(self, looker: Looker, container_id: str, *, thorough: bool) -> Seen | None:
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
            return looker.look(container_id, thorough=thorough)
        try:
            return self._look(looker, container_id, entry)
        finally:
            over = entry.over
            self._tell(entry)
            if entry.confirmed and over:
                with self._guard:
                    if self._entries.get(container_id) is entry:
                        del self._entries[container_id]
                        entry.start.close()

    def _look(self, looker: Looker, container_id: str, entry: _Entry) -> Seen | None:
        if entry.ready and not entry.touched:
            if not entry.held:
                return None
            if looker.intact(container_id, entry.start):
                self._let_go(entry)
                return None
        entry.ready = entry.touched = False
        stood = entry.held
        try:
            seen = looker.look(container_id, thorough=False, start=None if entry.confirmed else entry.start)
            ready = not any(outcome.error for outcome in seen.outcomes)
            # what was done while it was on its way to its execve may have been undone on that way
            entry.ready = ready and (not entry.held or looker.intact(container_id, entry.start))
        finally:
            if entry.ready:
                entry.ready_after = entry.ready_after or time.monotonic() - entry.start.since
                if entry.held:
                    self._let_go(entry)
            elif stood:  # else it may have failed for what the runtime did meanwhile; its stop asks for another look
                self._failed(entry)
        return seen

    def _let_go(self, entry: _Entry) -> None:
        if entry.start.hold:
            entry.start.hold.go()

    def _failed(self, entry: _Entry) -> None:
        hold = entry.start.hold
        if hold is None or hold.over:
            return
        match labels.holding(entry.start.container, self._default).on_failure:
            case "leave":
                hold.go()
            case "stop":
                container = entry.start.container
                log.warning("stopped", container=container.name, id=container.id, reason="on-failure is stop")
                hold.kill()

    def _tell(self, entry: _Entry) -> None:
        hold = entry.start.hold
        if hold is None or not hold.over:
            return
        with self._guard:
            if entry.told:
                return
            entry.told = True
        container = entry.start.container
        say = log.info if hold.over in {"go", "ended"} else log.warning
        times = {"ms": round(hold.held * 1000, 1), "ready_ms": round(entry.ready_after * 1000, 1)}
        say("let go", container=container.name, id=container.id, reason=hold.over, **times)

    def _drop(self, container_id: str) -> None:
        """Forget a start; its descriptors are closed by the next look, since one may be under way."""
        if entry := self._entries.pop(container_id, None):
            self._past.setdefault(container_id, []).append(entry)
