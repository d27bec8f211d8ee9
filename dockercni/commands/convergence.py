"""Whether every container has what it should have: all of them looked at, nothing done."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dockercni.commands.containers import look_at, not_ours
from dockercni.errors import EngineUnavailable
from dockercni.reconcile.reconciler import NOTE, Outcome, Seen
from dockercni.settings import Settings
from dockercni.status_file import Failing
from dockercni.wiring import Parts, policy, wire

_FIRST_PAUSE: Final = 0.1  # seconds
_LONGEST_PAUSE: Final = 2.0  # seconds


@dataclass(slots=True)
class State:
    """What was found. The lists hold one line for each container, attachment or file; `problem` is the engine's."""

    engine: str = ""
    problem: str = ""
    wanted: int = 0
    attached: int = 0
    attachments: int = 0
    pending: list[str] = field(default_factory=list)
    failing: list[str] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    not_ours: list[str] = field(default_factory=list)

    @property
    def converged(self) -> bool:
        """Whether it is known that nothing is left to do."""
        return not (self.problem or self.pending or self.failing or self.drift)


def state(settings: Settings, failing: Mapping[str, Failing], wait: float | None) -> State:
    """Look at everything; with `wait` again and again until converged, for so many seconds at most.

    `failing` is what the daemon tried in vain. Raises NotRoot, EngineRefused.
    """
    parts = wire(settings)
    deadline = time.monotonic() + (wait or 0)
    pause = _FIRST_PAUSE
    while True:
        found = _look(parts, failing)
        left = deadline - time.monotonic()
        if found.converged or left <= 0:
            return found
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)


def _look(parts: Parts, failing: Mapping[str, Failing]) -> State:
    found = State()
    try:
        engine = parts.client.engine()
        found.engine = engine.version
        seen = look_at(parts, parts.looker(engine, policy(parts.settings)), parts.everything(engine.mark), dry_run=True)
    except EngineUnavailable as error:
        found.problem = str(error)
        return found
    for one in seen:
        _sort(found, one, failing)
    found.drift.extend(parts.not_let_through())
    found.not_ours.extend(not_ours(parts, engine.mark))
    return found


def _sort(found: State, one: Seen, failing: Mapping[str, Failing]) -> None:
    coming = [outcome for outcome in one.outcomes if outcome.verb == "ADD"]
    errors = [outcome for outcome in one.outcomes if outcome.error]
    if one.running and (one.attachments or errors):
        found.wanted += 1
        found.attached += not coming and not errors
    found.attachments += one.attachments - len(coming)
    tried = failing[one.id].reason if one.id in failing else ""
    for outcome in one.outcomes:
        if outcome.error:
            found.failing.append(f"{one.name}: {outcome.error}")
        elif outcome.drift:
            found.drift.append(f"{one.name}: {outcome.reason}")
        elif outcome.verb == NOTE:
            found.notes.append(f"{one.name}: {outcome.reason}")
        elif tried:
            found.failing.append(f"{_words(one, outcome)}: {tried}")
        else:
            found.pending.append(f"{_words(one, outcome)}: {outcome.reason}")


def _words(one: Seen, outcome: Outcome) -> str:
    return " ".join(filter(None, (outcome.verb, one.name, outcome.network, outcome.ifname)))
