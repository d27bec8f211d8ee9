"""dockercni.daemon.report: one failure is one line, then a count."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from dockercni import logs
from dockercni.daemon import report
from dockercni.daemon.report import Reporter
from dockercni.reconcile.outcome import Outcome, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FAILED = Step("ADD", "lan", "eth0", error="no room")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The events of the log so far, each with what is not the same in all of them."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    logs.configure("info", "json")

    def read() -> list[dict[str, Any]]:
        keys = ("level", "event", "reason", "times", "failures")
        found = [json.loads(line) for line in stream.getvalue().splitlines()]
        return [{key: event[key] for key in keys if key in event} for event in found]

    yield read
    structlog.reset_defaults()


def seen(*steps: Step, container: str = "web") -> Outcome:
    """What a look at a container came to."""
    return Outcome(container, container, running=True, attachments=0, steps=steps)


def test_the_same_failure_is_one_line(lines: Callable[[], list[dict[str, Any]]]) -> None:
    """However often it comes, and between whatever else; another container's is another failure."""
    reporter = Reporter()
    for _ in range(6):
        reporter.reconciled(seen(FAILED))
        reporter.reconciled(seen(FAILED, container="db"))
    assert lines() == [{"level": "error", "event": "ADD failed", "reason": "no room"}] * 2


def test_success_says_how_often_it_failed(lines: Callable[[], list[dict[str, Any]]]) -> None:
    """The line of what works at last has the count, and the next failure is news again."""
    reporter = Reporter()
    for _ in range(3):
        reporter.reconciled(seen(FAILED))
    reporter.reconciled(seen(Step("ADD", "lan", "eth0", reason="container started")))
    reporter.reconciled(seen(FAILED))
    assert lines()[1:] == [
        {"level": "info", "event": "ADD", "reason": "container started", "failures": 3},
        {"level": "error", "event": "ADD failed", "reason": "no room"},
    ]


def test_an_end_without_success_says_it_too(lines: Callable[[], list[dict[str, Any]]]) -> None:
    """A container that goes while it fails leaves the count behind; one that failed once has left its line."""
    reporter = Reporter()
    for _ in range(3):
        reporter.reconciled(seen(FAILED))
    reporter.reconciled(seen(FAILED, container="db"))
    reporter.reconciled(seen())
    reporter.reconciled(seen(container="db"))
    assert lines()[2:] == [{"level": "info", "event": "failure over", "reason": "no room", "times": 3}]


def test_another_reason_is_news(lines: Callable[[], list[dict[str, Any]]]) -> None:
    """A change of the reason is told at once; one that was told lately is not told again."""
    reporter = Reporter()
    other = Step("ADD", "lan", "eth0", error="no plugin")
    for step in (FAILED, other, FAILED, other):
        reporter.reconciled(seen(step))
    assert [event["reason"] for event in lines()] == ["no room", "no plugin"]


def test_after_a_minute_it_is_said_again(
    lines: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes on failing is not forgotten: a line a minute, with the count."""
    now = [1000.0]
    monkeypatch.setattr(report, "time", SimpleNamespace(monotonic=lambda: now[0]))
    reporter = Reporter()
    for _ in range(121):
        reporter.reconciled(seen(FAILED))
        now[0] += 1
    assert [event.get("times", 1) for event in lines()] == [1, 61, 121]


def test_looks_that_come_to_nothing_are_counted_as_well(lines: Callable[[], list[dict[str, Any]]]) -> None:
    """A look that fails as a whole says nothing of what failed before."""
    reporter = Reporter()
    reporter.reconciled(seen(FAILED))
    for _ in range(5):
        reporter.failed("web", "lock held", "event")
    reporter.reconciled(seen(FAILED))
    assert [event["event"] for event in lines()] == ["ADD failed", "reconcile failed", "failure over"]


def test_what_fails_now() -> None:
    """For the heartbeat: what fails, in which parts, since when, how often, and when the next try is due."""
    reporter = Reporter()
    for _ in range(2):
        reporter.reconciled(seen(FAILED, Step("ADD", "san", "eth1")))
    reporter.reconciled(seen(Step("NOTE", reason="moved", drift=True), container="db"))
    [(key, failing)] = reporter.failing({"web": 12.5}).items()
    assert (key, failing.container, failing.reason, failing.times, failing.next) == ("web", "web", "no room", 2, 12.5)
    assert [(one.verb, one.network, one.ifname) for one in failing.parts] == [("ADD", "lan", "eth0")]
    reporter.reconciled(seen())
    assert reporter.failing({}) == {}
    assert reporter.what_fails() == []
