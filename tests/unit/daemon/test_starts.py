"""Starts that the engine confirms, denies, or says nothing of; and those that are told of as missed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from dockercni.daemon import starts
from dockercni.daemon.starts import StartTracker
from dockercni.errors import EngineUnavailable
from dockercni.linux.hold.holder import Limit
from dockercni.model import Container
from dockercni.reconcile.labels import Holding
from dockercni.reconcile.outcome import WAIT, Outcome, Step

ID = "0" * 64
CONTAINER = Container(ID, "web", running=True)


class Reconciled:
    """A reconciler that notes whether it was given the start, and reports the given steps."""

    def __init__(self, *steps: Step) -> None:
        self.starts: list[bool] = []
        self.steps = steps

    def reconcile(self, container_id: str, *, thorough: bool, start: object = None) -> Outcome:
        del thorough
        self.starts.append(start is not None)
        return Outcome(container_id, "web", True, 1, self.steps)

    def intact(self, *_: object) -> bool:
        return True


class World:
    """Starts with a hold that is made up."""

    def __init__(self, container: Container = CONTAINER, limit: float = 10.0, age: float = 0.0) -> None:
        self.late = 0
        self.vetting: Any = lambda one: one
        self.tracker = StartTracker(Holding(10.0, "leave"), lambda *_: None, self.vet, self.count)
        gone: list[str] = []
        self.gone = gone
        self.hold = SimpleNamespace(stopped=False, over="", held=0.0, go=lambda: gone.append("go"))
        start: Any = SimpleNamespace(
            container=container,
            cgroup="c",
            since=starts.time.monotonic() - age,
            hold=self.hold,
            limit=Limit(limit),
            close=lambda: None,
        )
        self.tracker.started(start)

    def vet(self, one: Container) -> Container:
        return self.vetting(one)  # type: ignore[no-any-return]

    def count(self) -> None:
        self.late += 1

    def reconcile(self, *steps: Step) -> Reconciled:
        reconciler: Any = Reconciled(*steps)
        self.tracker.reconcile(reconciler, ID, thorough=False)
        return reconciler  # type: ignore[no-any-return]


def test_nobody_says_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start of which the engine says nothing has to be looked at again, and the engine is asked after a while; not
    before that, and not for as long as the container is held."""
    world = World()
    assert world.reconcile().starts == [True]
    assert world.tracker.unconfirmed(ID)
    monkeypatch.setattr(starts.time, "monotonic", lambda: 1e9)
    world.hold.stopped = True
    world.tracker.touch(ID)
    assert world.reconcile().starts == [True]
    world.hold.over = "limit"
    assert world.reconcile().starts == [False]
    assert not world.tracker.unconfirmed(ID)


def test_where_all_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start may take as long as a container may be held before the engine is asked, which knows of no start yet."""
    world = World(limit=100.0)
    now = starts.time.monotonic()
    for seconds, believed in ((50, True), (101, False)):
        monkeypatch.setattr(starts.time, "monotonic", lambda later=seconds: now + later)
        world.tracker.touch(ID)
        assert world.reconcile().starts == [believed]


def test_taken_over_late() -> None:
    """A daemon that hears of a start long after it began asks the engine, unless it stands at its execve.

    After kill -9 of containerd a stage of the runtime stays, which the gate tells every daemon of.
    """
    assert World(age=11.0).reconcile().starts == [False]
    world = World(age=11.0)
    world.hold.stopped = True
    assert world.reconcile().starts == [True]


def test_the_engine_doubts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a word of its end, which may be of an earlier start, the engine is asked soon."""
    world = World()
    world.tracker.doubt(ID)
    now = starts.time.monotonic()
    world.tracker.touch(ID)
    assert world.reconcile().starts == [True]
    monkeypatch.setattr(starts.time, "monotonic", lambda: now + starts.DOUBTED + 0.1)
    assert world.reconcile().starts == [False]


def test_what_the_engine_has_to_say_first() -> None:
    """A held container whose network others live with is neither let go nor given up: the engine's word ends it."""
    world = World()
    world.hold.stopped = True
    world.reconcile(Step(WAIT, reason="processes live there"))
    assert world.gone == []
    world.tracker.confirm(ID)
    assert world.reconcile().starts == [False]
    assert world.gone == ["go"]


def test_labels_that_are_not_told_apart_yet() -> None:
    """A container is held first; while nobody can say whose its labels are it waits, and then what is said counts."""
    image = Container(ID, "web", True, labels={"dockercni.hold": "1h", "dockercni.networks": "lan"}, image="sha256:1")
    world = World(image)

    def silent(one: Container) -> Container:
        raise EngineUnavailable(one.name)

    world.vetting = silent
    world.hold.stopped = True
    with pytest.raises(EngineUnavailable):
        world.reconcile()
    assert world.gone == []
    world.vetting = lambda _: CONTAINER
    assert world.reconcile().starts == [True]
    assert world.gone == ["go"]


@pytest.mark.parametrize("first", ["event", "end"])
def test_ran_to_its_end_unheld(first: str) -> None:
    """A program that ended before it could be held is a warning and counts, whichever is known first; one that never
    began, since its start failed, is none."""
    world = World()
    with capture_logs() as logs:
        if first == "event":
            world.tracker.confirm(ID)
        world.hold.over = "ended"
        world.reconcile()
        assert world.late == (1 if first == "event" else 0)
        world.tracker.confirm(ID)
        world.reconcile()
    assert world.late == 1
    assert [log["log_level"] for log in logs if log["event"] == "not held"] == ["warning"]


@pytest.mark.parametrize(
    ("over", "ready", "level", "late"),
    [("go", True, "info", 0), ("go", False, "warning", 1), ("limit", False, "warning", 1), ("ended", True, "info", 0)],
)
def test_released(over: str, ready: bool, level: str, late: int) -> None:
    """Whoever begins without the network that it was held for is a warning, and counts."""
    world = World()
    world.hold.stopped = True
    with capture_logs() as logs:
        world.reconcile(*([] if ready else [Step("ADD", error="no address")]))
        world.hold.over = over
        world.tracker.touch(ID)
        world.reconcile(*([] if ready else [Step("ADD", error="no address")]))
    assert [log["log_level"] for log in logs if log["event"] == "released"] == [level]
    assert world.late == late
