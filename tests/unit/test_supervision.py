"""dockercni.supervision: a thread that must live is started anew, named meanwhile, or takes the process with it."""

from __future__ import annotations

import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from dockercni import status_file, supervision
from dockercni.daemon import work_queue
from dockercni.daemon.heartbeat import Heartbeat
from dockercni.daemon.work_queue import WorkQueue
from dockercni.errors import Retry
from dockercni.linux import threads
from dockercni.linux.hold import holder
from tests.hosts.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path


class Killed(BaseException):
    """Nothing catches it by its kind."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are short, unless a test says otherwise."""
    monkeypatch.setattr(supervision, "FIRST_PAUSE", 0.01)


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, MemoryError, Killed])
def test_whatever_ends_it_it_is_started_anew(kind: type[BaseException]) -> None:
    """Any exception starts the work anew, also one that ends a thread without a word; a return is its end."""
    endings = iter([kind, kind])

    def work() -> None:
        for ending in endings:
            raise ending

    supervision.start("work", work).join(5)
    assert next(endings, None) is None
    assert supervision.down() == {}


def test_it_is_named_until_it_is_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its end and its new start a thread is down, with the reason; whoever asked is told of both."""
    monkeypatch.setattr(supervision, "FIRST_PAUSE", 0.3)
    told: list[dict[str, str]] = []
    supervision.on_change(lambda: told.append(supervision.down()))
    endings = iter([ValueError("no room")])

    def work() -> None:
        for ending in endings:
            raise ending

    supervision.start("work", work).join(5)
    assert told == [{"work": "ValueError: no room"}, {}]


def test_pauses_double_to_a_limit_and_begin_anew_after_health(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that fails again and again is tried ever more rarely; that it once lived long forgives what was before."""
    monkeypatch.setattr(supervision, "FIRST_PAUSE", 0.1)
    assert [supervision.pause(failures) for failures in (1, 2, 5, 20)] == [0.1, 0.2, 1.6, supervision.LONGEST_PAUSE]
    now = [0.0]
    monkeypatch.setattr(supervision, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=lambda _: None))
    asked: list[int] = []
    monkeypatch.setattr(supervision, "pause", lambda failures: asked.append(failures) or 0.0)
    lives = iter([0.0, 0.0, supervision.HEALTHY + 1, 0.0])

    def work() -> None:
        for netns_id in lives:
            now[0] += netns_id
            raise ValueError

    supervision.start("work", work).join(5)
    assert asked == [1, 2, 1, 2]


def test_should_supervision_itself_end_the_process_ends() -> None:
    """What ends even the loop that starts a thread anew ends the process, with a code that says failure."""
    program = (
        "import time; from dockercni import supervision; supervision.install()\n"
        "supervision.pause = lambda _: 1 / 0\n"
        "supervision.start('work', lambda: [][0])\n"
        "time.sleep(30)"
    )
    ended = subprocess.run([sys.executable, "-c", program], timeout=20, check=False, capture_output=True, text=True)
    assert ended.returncode == supervision.EXIT_CODE
    assert "ZeroDivisionError" in ended.stdout + ended.stderr


def test_a_thread_that_may_end_is_only_told_of() -> None:
    """The end of any other thread is logged, and the process goes on."""
    program = (
        "import threading; from dockercni import supervision; supervision.install()\n"
        "thread = threading.Thread(target=lambda: [][0]); thread.start(); thread.join(); print('on')"
    )
    ended = subprocess.run([sys.executable, "-c", program], timeout=20, check=False, capture_output=True, text=True)
    assert ended.returncode == 0
    assert "IndexError" in ended.stdout + ended.stderr
    assert ended.stdout.endswith("on\n")


def test_the_dispatcher_is_started_anew_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that was asked for before, while and after the work queue's dispatcher was down is done."""
    monkeypatch.setattr(supervision, "FIRST_PAUSE", 1.0)
    done: list[str] = []
    served = WorkQueue(lambda key, _: done.append(key) or Retry.NEVER, workers=1)
    end = ends(monkeypatch, served, "_may_start")
    for number in range(3):
        end.set()
        served.add(f"before {number}", "event")
        wait_until(supervision.down, 20, "the dispatcher's end")
        served.add(f"while {number}", "event")
        wait_until(lambda: not supervision.down(), 20, "its new start")
        served.add(f"after {number}", "event")
    wait_until(lambda: len(done) == 9, 20, "the work", lambda: done)
    served.drain(5)


def test_a_refused_thread_costs_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """When no thread can be started the work waits, in its order, and is done as soon as there can be one again."""
    monkeypatch.setattr(work_queue, "REFUSED_PAUSE", 0.02)
    refused: list[str] = []
    start = threads.start

    def refuse(name: str, work: object) -> threading.Thread:
        if len(refused) < 5:
            refused.append(name)
            raise BlockingIOError(11, "no thread")
        return start(name, work)  # type: ignore[arg-type]

    done: list[str] = []
    served = WorkQueue(lambda key, _: done.append(key) or Retry.NEVER, workers=1)
    monkeypatch.setattr(threads, "start", refuse)
    for key in ("a", "b", "c"):
        served.add(key, "event")
    wait_until(lambda: len(done) == 3, 20, "the work", lambda: done)
    assert done == ["a", "b", "c"]
    assert set(refused) == {"work-a"}
    assert served.busy() == ()
    served.drain(5)


def test_the_probe_names_the_thread_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the dispatcher is down the heartbeat says so, though it cannot be asked what it does."""
    monkeypatch.setattr(supervision, "FIRST_PAUSE", 3.0)
    served = WorkQueue(lambda *_: Retry.NEVER, workers=1)
    end = ends(monkeypatch, served, "_may_start")
    heart = Heartbeat(tmp_path, served.busy)
    heart.start()
    wait_until(lambda: status_file.read(tmp_path), 20, "the first beat")
    end.set()
    served.add("a", "event")
    found = wait_until(lambda: (last := status_file.read(tmp_path)) and last.down and last, 20, "the thread's name")
    assert found
    assert found.down == {"queue": "Killed"}
    wait_until(lambda: (last := status_file.read(tmp_path)) and not last.down, 20, "its new start")
    served.drain(5)
    heart.close()


def test_the_heartbeat_goes_on(tmp_path: Path) -> None:
    """An exception in the thread that says that the daemon lives costs a beat."""
    end = threading.Event()

    def busy() -> tuple[str, ...]:
        if end.is_set():
            end.clear()
            raise Killed
        return ()

    heart = Heartbeat(tmp_path, busy)
    heart.start()
    first = wait_until(lambda: status_file.read(tmp_path), 20, "the first beat")
    assert first
    end.set()
    heart.connected()
    wait_until(lambda: (last := status_file.read(tmp_path)) and last.connected, 20, "another beat")
    assert not end.is_set()
    heart.close()


def test_the_holds_listener_gets_another_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in the thread that hears the helper ends that helper, and the holds with it; the next one serves."""
    end = ends(monkeypatch, holder, "_next")
    one = holder.Holder()
    one.start()
    first = one.pid
    over = threading.Event()
    kept = one.hold(holder.Limit(5.0), over.set)
    end.set()  # it comes true after the helper's next sign of life
    assert over.wait(20)
    assert kept.over == "the helper ended"
    one.start()
    wait_until(lambda: one.pid not in {0, first}, 20, "another helper")
    one.close()


def ends(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> threading.Event:
    """Once the event is set, the next call of that name raises what nothing catches by its kind."""
    end = threading.Event()
    function = getattr(owner, name)

    def call(*arguments: object) -> object:
        if end.is_set():
            end.clear()
            raise Killed
        return function(*arguments)

    monkeypatch.setattr(owner, name, call)
    return end
