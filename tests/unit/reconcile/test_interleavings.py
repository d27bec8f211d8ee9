"""Any order of events, losses, duplicates, failures and deaths: the real plan and work queue in a simulated world."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dockercni.daemon import work_queue
from tests.unit.reconcile.simulated import Daemon, World, clock

NAMES = ("a", "b", "c")
names = st.sampled_from(NAMES)


@pytest.fixture(autouse=True)
def _simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_queue, "time", clock)
    monkeypatch.setattr(work_queue, "retry_delay", lambda failures, _: 2.0**failures)


class Interleavings(RuleBasedStateMachine):
    """The engine, the event stream, the daemon and its death, in any order."""

    def __init__(self) -> None:
        super().__init__()
        clock.now = 0.0
        self.world = World()
        self.daemon = Daemon(self.world, workers=2)
        self.events: list[tuple[str, str]] = []

    def teardown(self) -> None:
        """However it went: once there is rest and one look at all, everything is as it should be."""
        if self.daemon.violation is None:
            self.world.forgetful = False
            self._look_at_all()
            self._until_idle()
        self.daemon.die()
        assert self.daemon.violation is None
        assert self.world.converged(), self.world

    @rule(name=names)
    def start(self, name: str) -> None:
        """A container is run, started, or restarted by its policy."""
        if self.world.live(name) is None:
            self.world.start(name)
            self.events.append((name, "start"))

    @rule(name=names, remove=st.booleans())
    def stop(self, name: str, remove: bool) -> None:
        """A container ends, and is removed perhaps."""
        if name in self.world.containers:
            self.world.stop(name, remove=remove)
            self.events += [(name, "die"), *([(name, "destroy")] if remove else [])]

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def hear(self, data: Any) -> None:
        """One of the events arrives, not always the first; it may arrive again."""
        position = data.draw(st.integers(0, len(self.events) - 1))
        name, action = self.events[position]
        if data.draw(st.booleans()):
            del self.events[position]
        self.daemon.queue.add(name, action, urgent=data.draw(st.booleans()))

    @precondition(lambda self: self.events)
    @rule()
    def miss(self) -> None:
        """The stream breaks: what was not heard yet is lost, and all are looked at."""
        self.events.clear()
        self._look_at_all()

    @precondition(lambda self: self.daemon.waiting())
    @rule(data=st.data(), fail=st.booleans(), times=st.integers(1, 4))
    def advance(self, data: Any, fail: bool, times: int) -> None:
        """A look goes on for some steps; the last one may fail."""
        name = data.draw(st.sampled_from(self.daemon.waiting()))
        for number in range(times):
            if name in self.daemon.waiting():
                self.daemon.advance(name, fail=fail and number == times - 1)

    @rule()
    def die(self) -> None:
        """The daemon is killed where it stands, and started again."""
        self.daemon.waiting()
        self.daemon.die()
        self.events.clear()
        self.daemon = Daemon(self.world, workers=2)
        self._look_at_all()

    @rule(seconds=st.sampled_from([0.5, 2.0, 400.0]))
    def wait(self, seconds: float) -> None:
        """Time passes: retries become due, and looks become slow ones."""
        self._pass(seconds)

    @rule()
    def forget(self) -> None:
        """The engine says for a while that it knows no container, or remembers again."""
        self.world.forgetful = not self.world.forgetful

    @precondition(lambda self: not self.world.forgetful)
    @rule(name=names)
    def unmount(self, name: str) -> None:
        """Somebody takes a pin away; not under a plugin's feet, which would fail, and be tried again."""
        if name not in self.daemon.waiting():
            self.world.unpin(name)

    @invariant()
    def nothing_forbidden(self) -> None:
        """Nothing happened that must not."""
        self.daemon.waiting()

    def _look_at_all(self) -> None:
        for name in NAMES:
            self.daemon.queue.add(name, "all")

    def _pass(self, seconds: float) -> None:
        clock.now += seconds
        with self.daemon.queue._changed:
            self.daemon.queue._changed.notify_all()

    def _until_idle(self) -> None:
        """Let everything go on, and time pass, until nothing is left to do."""
        for _ in range(1000):
            while waiting := self.daemon.waiting():
                self.daemon.advance(waiting[0])
            if not self.daemon.queue._failures:
                return
            self._pass(2.0**20)
        raise AssertionError("it never comes to rest")


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
