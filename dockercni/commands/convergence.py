"""Whether every container has what it should have, by a dry run of reconciling all of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dockercni.commands.containers import not_ours, reconcile_at
from dockercni.errors import EngineUnavailable
from dockercni.reconcile.outcome import NOTE, Outcome, Step
from dockercni.settings import Settings
from dockercni.status_file import Failing
from dockercni.wiring import App, policy, wire

_FIRST_PAUSE: Final = 0.1  # seconds
_LONGEST_PAUSE: Final = 2.0  # seconds


@dataclass(slots=True)
class Convergence:
    """What was found. The lists have one line for each container, attachment or file.

    `engine` is the engine's version, `problem` why it could not be asked.
    """

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


def state(settings: Settings, failing: Mapping[str, Failing], wait: float | None) -> Convergence:
    """Judge all containers; with `wait`, repeat until they are converged or that many seconds are over.

    `failing` is what the daemon has tried in vain, by container id. Raises NotRoot, EngineRefused.
    """
    app = wire(settings)
    deadline = time.monotonic() + (wait or 0)
    pause = _FIRST_PAUSE
    while True:
        found = _judge(app, failing)
        left = deadline - time.monotonic()
        if found.converged or left <= 0:
            return found
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)


def _judge(app: App, failing: Mapping[str, Failing]) -> Convergence:
    found = Convergence()
    try:
        engine = app.client.engine()
        found.engine = engine.version
        reconciler = app.reconciler(engine, policy(app.settings))
        outcomes = reconcile_at(app, reconciler, app.container_ids(engine.mark), dry_run=True)
    except EngineUnavailable as error:
        found.problem = str(error)
        return found
    for outcome in outcomes:
        _add(found, outcome, failing)
    found.drift.extend(app.forwarding_problems())
    found.not_ours.extend(not_ours(app, engine.mark))
    return found


def _add(found: Convergence, outcome: Outcome, failing: Mapping[str, Failing]) -> None:
    coming = [step for step in outcome.steps if step.verb == "ADD"]
    errors = [step for step in outcome.steps if step.error]
    if outcome.running and (outcome.attachments or errors):
        found.wanted += 1
        found.attached += not coming and not errors
    found.attachments += outcome.attachments - len(coming)
    tried = failing[outcome.id].reason if outcome.id in failing else ""
    for step in outcome.steps:
        if step.error:
            found.failing.append(f"{outcome.name}: {step.error}")
        elif step.drift:
            found.drift.append(f"{outcome.name}: {step.reason}")
        elif step.verb == NOTE:
            found.notes.append(f"{outcome.name}: {step.reason}")
        elif tried:
            found.failing.append(f"{_line(outcome, step)}: {tried}")
        else:
            found.pending.append(f"{_line(outcome, step)}: {step.reason}")


def _line(outcome: Outcome, step: Step) -> str:
    return " ".join(filter(None, (step.verb, outcome.name, step.network, step.ifname)))
