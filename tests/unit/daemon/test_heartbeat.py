"""dockercni.daemon.heartbeat: what the daemon says of itself, and how old that may be."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockercni import status_file
from dockercni.daemon import heartbeat
from dockercni.daemon.heartbeat import Heartbeat
from dockercni.status_file import FILE, DaemonStatus, Failed, Failing
from tests.hosts.waiting import wait_until

FAILING: dict[str, Failing] = {}


def failing(container: str, reason: str) -> Failing:
    """A container that fails for one reason."""
    return Failing(container, (Failed("ADD", "net", "eth0", reason),))


@pytest.fixture
def heart(tmp_path: Path) -> Iterator[Heartbeat]:
    """A heart that beats."""
    made = Heartbeat(tmp_path, lambda: ("a",), lambda: FAILING)
    made.start()
    yield made
    FAILING.clear()
    made.close()
    assert not (tmp_path / FILE).exists()


def test_every_progress_is_written(heart: Heartbeat, tmp_path: Path) -> None:
    """What happened stands in the file at once, in typed form again when it is read."""
    heart.connected()
    heart.reconciling_all()
    FAILING["id1"] = failing("web", "label x: bad")
    heart.progress()
    found = wait_until(lambda: (last := status_file.read(tmp_path)) and last.failing and last, 5, "the failure")
    assert isinstance(found, DaemonStatus)
    assert found.failing == FAILING
    assert found.busy == ("a",)
    assert found.connected
    assert found.reconciled_all
    assert found.fresh
    del FAILING["id1"]
    heart.lost("gone")
    lost = wait_until(lambda: (last := status_file.read(tmp_path)) and last.lost and last, 5, "the loss")
    assert isinstance(lost, DaemonStatus)
    assert (lost.connected, lost.lost, lost.failing) == ("", "gone", {})


def test_what_is_off(heart: Heartbeat, tmp_path: Path) -> None:
    """What cannot work here stands in the file with its reason, until it works."""
    heart.off("hold", "no")
    wait_until(lambda: (last := status_file.read(tmp_path)) and last.off == {"hold": "no"}, 5, "the reason")
    heart.off("hold", "")
    wait_until(lambda: (last := status_file.read(tmp_path)) and not last.off, 5, "its end")


def test_it_is_for_root_only_and_has_a_schema(heart: Heartbeat, tmp_path: Path) -> None:
    """Reasons of failures are nobody else's business."""
    wait_until((tmp_path / FILE).exists, 5, "the file")
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert json.loads((tmp_path / FILE).read_text())["schema"] == 1
    heart.connected()


def test_a_daemon_whose_lanes_are_stuck_does_not_beat(tmp_path: Path) -> None:
    """The work queue is asked before each beat; while it does not answer, the file grows old."""
    stuck = threading.Event()

    def busy() -> tuple[str, ...]:
        stuck.wait()
        return ()

    heart = Heartbeat(tmp_path, busy)
    heart.start()
    heart.connected()
    assert status_file.read(tmp_path) is None
    stuck.set()
    wait_until(lambda: status_file.read(tmp_path), 5, "the beat")
    heart.close()


def test_it_beats_without_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to do is no reason to be silent."""
    monkeypatch.setattr(heartbeat, "BEAT", 0.05)
    heart = Heartbeat(tmp_path, tuple)
    heart.start()
    first = wait_until(lambda: status_file.read(tmp_path), 5, "the first beat")
    assert first
    wait_until(lambda: (last := status_file.read(tmp_path)) and last.beat > first.beat, 5, "the second beat")
    heart.close()


def test_the_service_manager_gets_each_beat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the file goes a datagram that feeds the watchdog and says in one line how things are."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        heart = Heartbeat(tmp_path, tuple)
        heart.start()
        assert manager.recv(4096) == b"WATCHDOG=1\nSTATUS=waits for the engine"
        heart.lost("it\nsays no")
        assert manager.recv(4096) == b"WATCHDOG=1\nSTATUS=no engine: it\\nsays no"
        heart.close()


def test_the_sentence() -> None:
    """What is wrong is said before what is right, the first failure by name."""
    now = {"connected": "then", "reconciled_all": "11:00"}
    assert DaemonStatus(1, "", 0.0, **now).sentence == "serves; all containers reconciled at 11:00"
    one, two = failing("web", "no room"), failing("db", "bad label")
    assert DaemonStatus(1, "", 0.0, **now, failing={"a": one}).sentence == "failing: web: no room"
    assert (
        DaemonStatus(1, "", 0.0, **now, failing={"a": one, "b": two}).sentence == "failing: web: no room (and 1 more)"
    )
    assert DaemonStatus(1, "", 0.0, **now, failing={"*": failing("", "gone")}).sentence == "failing: gone"


@pytest.mark.parametrize(("ago", "fresh"), [(0.0, True), (29.0, True), (31.0, False), (-5.0, False)])
def test_freshness(ago: float, fresh: bool) -> None:
    """Three beats may be missed; one from the future was written in another boot."""
    import time  # noqa: PLC0415

    assert DaemonStatus(1, "", time.monotonic() - ago).fresh is fresh


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', "null", '{"pid": 1, "started": "x"}'])
def test_what_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    """A damaged file is as good as none."""
    (tmp_path / FILE).write_text(text)
    assert status_file.read(tmp_path) is None


def test_a_directory_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    """The daemon goes on without a heartbeat, and complains once."""
    (tmp_path / "file").touch()
    heart = Heartbeat(tmp_path / "file" / "run", tuple)
    heart.start()
    heart.connected()
    heart.close()
