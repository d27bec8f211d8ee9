"""The watch: every gap in the stream means reconciling all, and nothing ends it but its owner."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from dockercni.docker import events as module
from dockercni.docker.client import Event
from dockercni.docker.events import LONGEST_DELAY, Watch, delay
from dockercni.errors import EngineUnavailable
from tests.hosts.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass
class Stream:
    """A client with one script for each subscription: events, then the end, or an error in their place."""

    scripts: list[Sequence[Event | Exception]]
    since: list[str | None] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def events(self, since: str | None) -> Iterator[Script]:
        self.since.append(since)
        script = self.scripts.pop(0) if self.scripts else [EngineUnavailable("over")]
        if script and isinstance(script[0], EngineUnavailable) and len(script) == 1:
            raise script[0]
        self.log.append("subscribed")
        yield Script(script)


@dataclass
class Script:
    """A subscription that plays its script."""

    items: Sequence[Event | Exception]
    replaced: bool = False

    def __iter__(self) -> Iterator[Event]:
        for item in self.items:
            if isinstance(item, Exception):
                raise item
            yield item


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses to speak of."""
    monkeypatch.setattr(module, "FIRST_DELAY", 0.0001)
    monkeypatch.setattr(module, "LONGEST_DELAY", 0.001)


def follow(stream: Stream, subscriptions: int) -> list[str]:
    """Run the watch until it has tried so often; what it did, in order."""
    stop = threading.Event()
    watch = Watch(
        stream,  # type: ignore[arg-type]
        connected=lambda: stream.log.append("all"),
        changed=lambda container_id, action: stream.log.append(f"{action} {container_id}"),
        stop=stop,
        networks=lambda: stream.log.append("networks"),
    )
    thread = threading.Thread(target=watch.run)
    thread.start()
    wait_until(lambda: len(stream.since) >= subscriptions, 5, f"{subscriptions} subscriptions")
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    return stream.log


def test_all_before_the_first_event() -> None:
    """Everything is looked at when the subscription stands, before any event is read."""
    stream = Stream([[Event("a", "start", "1.5"), Event("b", "die", "1.6")]])
    assert follow(stream, 2)[:4] == ["subscribed", "all", "start a", "die b"]


def test_networks() -> None:
    """A network of Docker's that comes or goes is reported as one; other creations are ignored."""
    created = [Event("a", "create", "1.5"), Event("n", "create", "1.6", "network"), Event("a", "start", "1.7")]
    assert follow(Stream([created]), 2)[:4] == ["subscribed", "all", "networks", "start a"]


def test_every_end_means_all() -> None:
    """A stream that ended, cleanly or not, is taken up where it was, and everything is looked at again."""
    broken = [Event("b", "start", "2.0"), EngineUnavailable("reset")]
    stream = Stream([[Event("a", "start", "1.5")], [], broken, [Event("c", "start", "3.0")]])
    log = follow(stream, 5)
    assert log[:9] == [
        "subscribed",
        "all",
        "start a",
        "subscribed",
        "all",
        "subscribed",
        "all",
        "start b",
        "subscribed",
    ]
    assert stream.since[:5] == [None, "1.5", "1.5", "2.0", "3.0"]


def test_goes_on_for_ever() -> None:
    """However often nobody answers, it is tried again."""
    stream = Stream([[EngineUnavailable("down")] for _ in range(50)])
    follow(stream, 60)
    assert stream.log == []


@pytest.mark.usefixtures("quick")
def test_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays double, with jitter, to a limit."""
    monkeypatch.setattr(module, "FIRST_DELAY", 0.2)
    monkeypatch.setattr(module, "LONGEST_DELAY", LONGEST_DELAY)
    for failures, longest in ((1, 0.2), (2, 0.4), (5, 3.2), (8, LONGEST_DELAY), (10**6, LONGEST_DELAY)):
        for _ in range(20):
            assert longest / 2 <= delay(failures) <= longest
