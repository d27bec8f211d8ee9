"""What looks came to, as log events; and what fails now, for the heartbeat.

One failure is one line. The same one again is counted; the count is said once a minute, and when it is over: the first
line tells what is wrong, and a thousand of them would hide everything else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from dockercni.reconcile.outcome import ADD, NOTE, Outcome, Step
from dockercni.status_file import Failed, Failing
from dockercni.status_words import bounded, now

LOOK: Final = "look"  # the verb of a look that failed as a whole
_AGAIN: Final = 60.0  # seconds until a failure that goes on is said again
_REASONS: Final = 32  # of one container that are remembered: some have a new one each time

log = structlog.get_logger()


@dataclass(slots=True)
class _Told:
    """How often a failure came, how often that was when it was last said, and when."""

    times: int = 0
    said: int = 0
    when: float = 0.0


class Reporter:
    """Thread-safe; calls for one key come from one thread at a time."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._told: dict[str, dict[Failed, _Told]] = {}
        self._failing: dict[str, Failing] = {}

    def looked(self, seen: Outcome) -> None:
        """A look has ended, with one event for each thing that was done."""
        failed = [_failed(step) for step in seen.steps if step.error]
        drifting = [_failed(step) for step in seen.steps if step.drift and not step.error]
        over = self._over(seen.id, [*failed, *drifting])
        for step in seen.steps:
            fields = {"container": seen.name, "id": seen.id, **_fields(step)}
            if step.error or step.drift:
                event = f"{step.verb} failed" if step.verb != NOTE else "not attached"
                if times := self._news(seen.id, _failed(step)):
                    say = log.error if step.error else log.warning
                    say(event if step.error else "drift", **fields, **({"times": times} if times > 1 else {}))
            else:
                before = sum(over.pop(one).times for one in list(over) if one.slot == _failed(step).slot)
                log.info(step.verb, **fields, **({"failures": before} if before else {}))
        for one, told in over.items():
            if told.times > told.said:
                log.info("failure over", container=seen.name, id=seen.id, reason=one.reason, times=told.times)
        self._set(seen.id, seen.name, failed)

    def failed(self, key: str, reason: str, trigger: str, defect: Exception | None = None) -> None:
        """A look came to nothing: what it would have found is not known. A defect of ours is told with its place."""
        one = Failed(LOOK, "", "", bounded(reason))
        if times := self._news(key, one):
            more = {"times": times} if times > 1 else {}
            if defect:
                log.error("reconcile failed", id=key, trigger=trigger, exc_info=defect, **more)
            else:
                log.warning("reconcile failed", id=key, reason=reason, trigger=trigger, **more)
        known = self._failing.get(key)
        self._set(key, known.container if known else "", [one])

    def fine(self, key: str) -> None:
        """There is nothing to say of `key` any more."""
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
        return max((told.times for one, told in self._told.get(key, {}).items() if one in parts), default=1)

    def _set(self, key: str, name: str, parts: Sequence[Failed]) -> None:
        with self._guard:
            if not parts:
                self._failing.pop(key, None)
                return
            since = self._failing[key].since if key in self._failing else now()
            self._failing[key] = Failing(bounded(name), tuple(parts), since)

    def _news(self, key: str, one: Failed) -> int:
        """Count a failure; how often it came if that is to be said now, else 0."""
        with self._guard:
            of_key = self._told.setdefault(key, {})
            told = of_key.pop(one, None) or _Told()
            of_key[one] = told  # the latest is the last
            if len(of_key) > _REASONS:
                del of_key[next(iter(of_key))]
            told.times += 1
            if told.said and time.monotonic() - told.when < _AGAIN:
                return 0
            told.said, told.when = told.times, time.monotonic()
            return told.times

    def _over(self, key: str, failing: Sequence[Failed]) -> dict[Failed, _Told]:
        """Forget the failures of what does not fail any more, and return them."""
        slots = {one.slot for one in failing}
        with self._guard:
            of_key = self._told.get(key, {})
            over = {one: of_key.pop(one) for one in list(of_key) if one.slot not in slots}
            if not of_key:
                self._told.pop(key, None)
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
