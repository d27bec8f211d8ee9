"""Whether every container has what it should have: all of them looked at, nothing done."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dockercni.commands.containers import not_ours, reconcile_at
from dockercni.errors import EngineUnavailable
from dockercni.reconcile.reconciler import NOTE, Outcome, Step
from dockercni.settings import Settings
from dockercni.status_file import Failing
from dockercni.wiring import App, policy, wire

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
    app = wire(settings)
    deadline = time.monotonic() + (wait or 0)
    pause = _FIRST_PAUSE
    while True:
        found = _look(app, failing)
        left = deadline - time.monotonic()
        if found.converged or left <= 0:
            return found
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)


def _look(app: App, failing: Mapping[str, Failing]) -> State:
    found = State()
    try:
        engine = app.client.engine()
        found.engine = engine.version
        seen = reconcile_at(
            app, app.reconciler(engine, policy(app.settings)), app.everything(engine.mark), dry_run=True
        )
    except EngineUnavailable as error:
        found.problem = str(error)
        return found
    for one in seen:
        _sort(found, one, failing)
    found.drift.extend(app.not_let_through())
    found.not_ours.extend(not_ours(app, engine.mark))
    return found


def _sort(found: State, one: Outcome, failing: Mapping[str, Failing]) -> None:
    coming = [step for step in one.steps if step.verb == "ADD"]
    errors = [step for step in one.steps if step.error]
    if one.running and (one.attachments or errors):
        found.wanted += 1
        found.attached += not coming and not errors
    found.attachments += one.attachments - len(coming)
    tried = failing[one.id].reason if one.id in failing else ""
    for step in one.steps:
        if step.error:
            found.failing.append(f"{one.name}: {step.error}")
        elif step.drift:
            found.drift.append(f"{one.name}: {step.reason}")
        elif step.verb == NOTE:
            found.notes.append(f"{one.name}: {step.reason}")
        elif tried:
            found.failing.append(f"{_words(one, step)}: {tried}")
        else:
            found.pending.append(f"{_words(one, step)}: {step.reason}")


def _words(one: Outcome, step: Step) -> str:
    return " ".join(filter(None, (step.verb, one.name, step.network, step.ifname)))
