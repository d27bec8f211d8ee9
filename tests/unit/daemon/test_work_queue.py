"""The work queue: one container in series, containers in parallel, retries, the end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from dockercni.daemon import work_queue
from dockercni.daemon.work_queue import LONGEST_RETRY, WorkQueue, retry_delay
from dockercni.errors import Retry
from tests.hosts.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable


class Looks:
    """A look that can be held, counts how many are under way, and does as it is told."""

    def __init__(self, answer: Callable[[str], Retry] = lambda _: Retry.NEVER) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.seen: list[tuple[str, str]] = []
        self.busy: list[str] = []
        self.most = 0
        self.twice = False
        self._answer = answer
        self._guard = threading.Lock()

    def __call__(self, key: str, reason: str) -> Retry:
        with self._guard:
            self.twice = self.twice or key in self.busy
            self.busy.append(key)
            self.most = max(self.most, len(self.busy))
            self.seen.append((key, reason))
        self.gate.wait(10)
        with self._guard:
            self.busy.remove(key)
        return self._answer(key)


def test_series_and_parallel() -> None:
    """Looks at one key never overlap; looks at different keys do, as far as there are workers."""
    looks = Looks()
    looks.gate.clear()
    served = WorkQueue(looks, workers=3)
    for key in ("a", "a", "b", "c", "d", "a"):
        served.add(key, "event")
    wait_until(lambda: len(looks.busy) == 3, 5, "three looks")
    looks.gate.set()
    wait_until(served.idle, 5, "the end")
    assert not looks.twice
    assert looks.most == 3
    assert sorted({key for key, _ in looks.seen}) == ["a", "b", "c", "d"]
    served.drain(5)


def test_reasons_add_up() -> None:
    """Any number of reasons during a look make one more look, with the last reason."""
    looks = Looks()
    looks.gate.clear()
    served = WorkQueue(looks, workers=2)
    served.add("a", "first")
    wait_until(lambda: looks.busy, 5, "the first look")
    for number in range(10):
        served.add("a", f"reason {number}")
    looks.gate.set()
    wait_until(served.idle, 5, "the end")
    assert looks.seen == [("a", "first"), ("a", "reason 9")]
    served.drain(5)


def test_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that says so is repeated until it does not, for its own key only."""
    monkeypatch.setattr(work_queue, "FIRST_RETRY", 0.01)
    failures = iter([Retry.LATER, Retry.LATER, Retry.NEVER])
    looks = Looks(lambda key: next(failures) if key == "bad" else Retry.NEVER)
    served = WorkQueue(looks, workers=2)
    served.add("bad", "event")
    served.add("good", "event")
    wait_until(lambda: [key for key, _ in looks.seen].count("bad") == 3, 5, "two retries")
    wait_until(served.idle, 5, "the end")
    assert [reason for key, reason in looks.seen if key == "bad"] == ["event", "retry", "retry"]
    assert [key for key, _ in looks.seen].count("good") == 1
    served.drain(5)


def test_the_end_of_a_look_is_told_with_its_next_try() -> None:
    """Whoever is told that a look has ended finds when it comes again."""
    told: list[dict[str, float]] = []
    served = WorkQueue(Looks(lambda _: Retry.LATER), 1, lambda: told.append(served.due()))
    served.add("a", "event")
    wait_until(lambda: told, 5, "the end")
    assert list(told[0]) == ["a"]
    served.drain(5)


def test_a_new_event_does_not_wait_for_the_retry() -> None:
    """An event is looked at at once, though a retry is due much later."""
    looks = Looks(lambda _: Retry.NEVER if len(looks.seen) > 1 else Retry.LATER)
    served = WorkQueue(looks, workers=1)
    served.add("a", "event")
    wait_until(lambda: len(looks.seen) == 1 and served.idle(), 5, "the failure")
    served.add("a", "again")
    wait_until(lambda: len(looks.seen) == 2, 0.4, "the second look")  # the retry would come after 0.5 s at the earliest
    served.drain(5)


def test_urgent_goes_first() -> None:
    """What is urgent is looked at before all that waits, also if it waits already, and even if no worker is free."""
    looks = Looks()
    looks.gate.clear()
    served = WorkQueue(looks, workers=1)
    served.add("busy", "event")
    wait_until(lambda: looks.busy, 5, "the first look")
    for key in ("a", "b", "c"):
        served.add(key, "all")
    served.add("c", "start", urgent=True)
    wait_until(lambda: "c" in looks.busy, 5, "the urgent look beside the busy one")
    looks.gate.set()
    wait_until(served.idle, 5, "the end")
    assert [key for key, _ in looks.seen] == ["busy", "c", "a", "b"]
    served.drain(5)


def test_drain() -> None:
    """Draining waits for what is under way, drops what waits, takes nothing new, and names what is not done in time."""
    looks = Looks()
    looks.gate.clear()
    served = WorkQueue(looks, workers=1)
    served.add("a", "event")
    served.add("b", "event")
    wait_until(lambda: looks.busy == ["a"], 5, "the look")
    assert served.drain(0.01) == ["a"]
    served.add("c", "event")
    looks.gate.set()
    assert served.drain(5) == []
    assert looks.seen == [("a", "event")]


@pytest.mark.parametrize(
    ("retry", "pauses"),
    [
        (Retry.LATER, {1: 1, 2: 2, 3: 4, 9: 256, 10: LONGEST_RETRY, 10**6: LONGEST_RETRY}),
        (Retry.OFTEN, {1: 1, 2: 2, 4: 8, 5: 10, 10**6: 10}),
        (Retry.SOON, {1: 0.1, 2: 0.2, 4: 0.8, 5: 1, 60: 1, 61: LONGEST_RETRY}),
    ],
)
def test_delays(retry: Retry, pauses: dict[int, float]) -> None:
    """Delays double, with jitter, to a limit that depends on what is waited for; nothing ends them."""
    for failures, longest in pauses.items():
        for _ in range(20):
            assert longest / 2 <= retry_delay(failures, retry) <= longest


def test_lanes_that_give_no_work_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks what is busy waits for a turn of the dispatcher: one that has ended is noticed by the silence."""
    assert WorkQueue(Looks(), workers=1).busy() == ()
    monkeypatch.setattr(WorkQueue, "_dispatch", lambda _: None)
    stuck = WorkQueue(Looks(), workers=1)
    answers: list[tuple[str, ...]] = []
    asking = threading.Thread(target=lambda: answers.append(stuck.busy()))
    asking.start()
    asking.join(0.2)
    assert answers == []
    stuck.drain(1)
    asking.join(5)
    assert answers == [()]
