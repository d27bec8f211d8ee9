"""What reconciling came to, as log events; and what fails now, for the heartbeat.

One failure is one line. Repetitions are counted; the count is logged once a minute, and when the failure is over. A
thousand equal lines would hide everything else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from dockercni.reconcile.outcome import ADD, NOTE, Outcome, Step
from dockercni.status_file import Failed, Failing, bounded, now

RUN: Final = "look"  # the verb of a run that failed as a whole, as status.json has it
_AGAIN: Final = 60.0  # seconds until a failure that goes on is logged again
_MAX_REASONS: Final = 32  # counted for one container: some failures have a new reason each time

log = structlog.get_logger()


@dataclass(slots=True)
class _Count:
    """How often a failure came, how often it had come when it was last logged, and when that was."""

    times: int = 0
    logged: int = 0
    when: float = 0.0


class Reporter:
    """Thread-safe; calls for one key come from one thread at a time."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._counts: dict[str, dict[Failed, _Count]] = {}
        self._failing: dict[str, Failing] = {}

    def reconciled(self, outcome: Outcome) -> None:
        """A run has ended: one event for each step."""
        failed = [_failed(step) for step in outcome.steps if step.error]
        drifting = [_failed(step) for step in outcome.steps if step.drift and not step.error]
        over = self._over(outcome.id, [*failed, *drifting])
        for step in outcome.steps:
            fields = {"container": outcome.name, "id": outcome.id, **_fields(step)}
            if step.error or step.drift:
                event = f"{step.verb} failed" if step.verb != NOTE else "not attached"
                if times := self._news(outcome.id, _failed(step)):
                    say = log.error if step.error else log.warning
                    say(event if step.error else "drift", **fields, **({"times": times} if times > 1 else {}))
            else:
                before = sum(over.pop(one).times for one in list(over) if one.slot == _failed(step).slot)
                log.info(step.verb, **fields, **({"failures": before} if before else {}))
        for one, count in over.items():
            if count.times > count.logged:
                log.info("failure over", container=outcome.name, id=outcome.id, reason=one.reason, times=count.times)
        self._set(outcome.id, outcome.name, failed)

    def failed(self, key: str, reason: str, trigger: str, defect: Exception | None = None) -> None:
        """A run failed as a whole. A defect of ours is logged with its stack."""
        one = Failed(RUN, "", "", bounded(reason))
        if times := self._news(key, one):
            more = {"times": times} if times > 1 else {}
            if defect:
                log.error("reconcile failed", id=key, trigger=trigger, exc_info=defect, **more)
            else:
                log.warning("reconcile failed", id=key, reason=reason, trigger=trigger, **more)
        known = self._failing.get(key)
        self._set(key, known.container if known else "", [one])

    def fine(self, key: str) -> None:
        """Nothing fails for `key` any more."""
        self._over(key, [])
        self._set(key, "", [])

    def failing(self, due: Mapping[str, float]) -> dict[str, Failing]:
        """What fails now, with the moments (by the monotonic clock) of the next tries that are known."""
        with self._guard:
            return {
                key: Failing(one.container, one.parts, one.since, self._times(key), due.get(key, 0.0))
                for key, one in self._failing.items()
            }

    def what_fails(self) -> list[str]:
        """The keys of what fails now."""
        with self._guard:
            return list(self._failing)

    def failing_adds(self) -> list[str]:
        """The ADDs among it, as NETWORK-CONTAINER."""
        with self._guard:
            found = [(key, one) for key, failing in self._failing.items() for one in failing.parts]
        return [f"{one.network}-{key}" for key, one in found if one.verb == ADD]

    def _times(self, key: str) -> int:
        parts = self._failing[key].parts
        return max((count.times for one, count in self._counts.get(key, {}).items() if one in parts), default=1)

    def _set(self, key: str, name: str, parts: Sequence[Failed]) -> None:
        with self._guard:
            if not parts:
                self._failing.pop(key, None)
                return
            since = self._failing[key].since if key in self._failing else now()
            self._failing[key] = Failing(bounded(name), tuple(parts), since)

    def _news(self, key: str, one: Failed) -> int:
        """Count a failure; returns how often it came if that is to be logged now, else 0."""
        with self._guard:
            of_key = self._counts.setdefault(key, {})
            count = of_key.pop(one, None) or _Count()
            of_key[one] = count  # the latest is the last
            if len(of_key) > _MAX_REASONS:
                del of_key[next(iter(of_key))]
            count.times += 1
            if count.logged and time.monotonic() - count.when < _AGAIN:
                return 0
            count.logged, count.when = count.times, time.monotonic()
            return count.times

    def _over(self, key: str, failing: Sequence[Failed]) -> dict[Failed, _Count]:
        """Forget the failures of what does not fail any more, and return them."""
        slots = {one.slot for one in failing}
        with self._guard:
            of_key = self._counts.get(key, {})
            over = {one: of_key.pop(one) for one in list(of_key) if one.slot not in slots}
            if not of_key:
                self._counts.pop(key, None)
            return over


def _failed(step: Step) -> Failed:
    return Failed(step.verb, step.network, step.ifname, bounded(step.error or step.reason))


def _fields(step: Step) -> dict[str, object]:
    fields = {
        "network": step.network,
        "ifname": step.ifname,
        "addresses": list(step.addresses),
        "ports": list(step.ports),
        "ms": step.ms,
        "reason": step.error or step.reason,
    }
    return {key: value for key, value in fields.items() if value}
