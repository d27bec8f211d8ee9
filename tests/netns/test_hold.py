"""The hold: what it stops, what it releases, and that it never stops anything else."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from dockercni.linux import cgroups, runc_stages
from dockercni.linux.hold import helper
from dockercni.linux.hold import holder as hold_module
from dockercni.linux.hold.holder import Hold, Holder, Limit
from tests.hosts import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VICTIM = Path(__file__).with_name("victim.py")


class Victim:
    """A process that will execute a program, in a cgroup and a network namespace of its own."""

    def __init__(self, root: Path, cgroup: Path, who: str) -> None:
        self.cgroup = cgroup
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(VICTIM), str(root), who],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.pid = self.process.pid
        (cgroup / "cgroup.procs").write_text(str(self.pid))
        assert self.line() == "ready"
        self.namespace = runc_stages.namespace(self.pid)

    def line(self) -> str:
        """The next line that it says, empty at its end."""
        assert self.process.stdout
        assert select.select([self.process.stdout], [], [], 20)[0], "it says nothing"
        return self.process.stdout.readline().strip()

    def execute(self) -> None:
        """Tell it to execute its program."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    @property
    def tracer(self) -> int:
        """Who traces it."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith("TracerPid")))

    @property
    def state(self) -> str:
        """As ps shows it: t is stopped by a tracer, T by a signal."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def holder() -> Iterator[Holder]:
    """With its helper running."""
    started = Holder()
    started.start()
    yield started
    pid = started.pid
    started.close()
    wait_until(lambda: not pid or not Path(f"/proc/{pid}").exists(), 10, "the helper's end, reaped")


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Callable[..., Victim]]:
    """Make victims, ended with the test."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    shutil.copy("/bin/busybox", tmp_path / "busybox")
    cgroup = cgroups.hierarchy() / f"dockercni-test-{uuid4().hex[:12]}"
    cgroup.mkdir()
    made: list[Victim] = []

    def make(who: str = "leader") -> Victim:
        made.append(Victim(tmp_path, cgroup, who))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.communicate(timeout=10)
    wait_until(lambda: not [*runc_stages.members(str(cgroup))], 10, "an empty cgroup")
    cgroup.rmdir()


def _hold(holder: Holder, victim: Victim, seconds: float = 30, *, kill: bool = False) -> Hold:
    hold = holder.hold(Limit(seconds, kill=kill), lambda: None)
    hold.seize(victim.pid, victim.namespace, victim.cgroup)
    wait_until(lambda: victim.tracer == holder.pid or hold.over, 10, "the helper as its tracer")
    return hold


def _stopped(hold: Hold) -> None:
    wait_until(lambda: hold.stopped, 10, "the stop at the execve", lambda: hold.over)


BEFORE = ("seizing", "seized")
STEPS = (*BEFORE, "stopped", "released")
AFTER = {"seizing": (), "seized": (), "stopped": (), "released": ("go",)}
"""How a hold may have ended at each step before anything happened to its helper."""


def _reach(step: str, holder: Holder, victim: Victim) -> Hold:
    """A hold that has come to that step."""
    if step == "seizing":
        hold = holder.hold(Limit(30), lambda: None)
        hold.seize(victim.pid, victim.namespace, victim.cgroup)
        return hold
    hold = _hold(holder, victim)
    if step not in BEFORE:
        victim.execute()
        _stopped(hold)
    if step == "released":
        hold.go()
    return hold


@pytest.mark.parametrize("who", ["leader", "thread", "twice"])
def test_stands_still_until_released(holder: Holder, victim: Callable[..., Victim], who: str) -> None:
    """It stops before its program's first instruction, whichever thread executes it, and runs when it is released."""
    one = victim(who)
    hold = _hold(holder, one)
    one.execute()
    if who == "twice":  # the runtime executed itself: that is not what is waited for
        assert one.line() == "ready"
        assert not hold.stopped
        one.execute()
    _stopped(hold)
    assert runc_stages.executed(one.pid)
    assert one.state == "t"
    hold.go()
    assert one.line() == "executed"
    wait_until(lambda: hold.over == "go", 10, "the helper's word", lambda: hold.over)
    assert one.tracer == 0
    assert hold.held > 0


def test_threads_come_and_go(holder: Holder, victim: Callable[..., Victim]) -> None:
    """One whose threads come and go while it is being seized is held like any other."""
    for _ in range(20):
        one = victim("busy")
        hold = _hold(holder, one)
        one.execute()
        _stopped(hold)
        hold.go()
        assert one.line() == "executed"
        one.process.kill()


FORGETFUL = """
import sys
sys.path.append(sys.argv[1])
from dockercni.linux.hold import helper
seize_threads = helper.Helper._seize_threads
def and_one_that_is_gone(self, traced):
    seize_threads(self, traced)
    traced.threads.add((1 << 22) - 1)
helper.Helper._seize_threads = and_one_that_is_gone
helper.main(int(sys.argv[2]))
"""


def test_thread_whose_end_was_not_seen(victim: Callable[..., Victim], monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that ended without the helper's knowledge does not keep a process from being released."""
    monkeypatch.setattr(hold_module, "_PROGRAM", FORGETFUL)
    one, holder = victim(), Holder()
    hold = _hold(holder, one)
    hold.go()
    wait_until(lambda: hold.over == "go", 10, "its end", lambda: hold.over)
    holder.close()


def test_released_before_it_executes(holder: Holder, victim: Callable[..., Victim]) -> None:
    """What is released before it executes is no longer traced, and not stopped later."""
    one = victim()
    hold = _hold(holder, one)
    hold.go()
    wait_until(lambda: hold.over == "go", 10, "its end", lambda: hold.over)
    assert one.tracer == 0
    one.execute()
    assert one.line() == "executed"
    assert not hold.stopped


def test_limit(holder: Holder, victim: Callable[..., Victim]) -> None:
    """At the limit, which counts from its stop, it runs on."""
    one = victim()
    hold = _hold(holder, one, 0.5)
    one.execute()
    _stopped(hold)
    assert one.line() == "executed"
    wait_until(lambda: hold.over == "limit", 10, "its end", lambda: hold.over)
    assert hold.held < 2


def test_limit_after_a_standstill(holder: Holder, victim: Callable[..., Victim]) -> None:
    """The time for which the helper could not run, as when the whole machine stood still, is not part of the limit."""
    one = victim()
    hold = _hold(holder, one, 2)
    one.execute()
    _stopped(hold)
    os.kill(holder.pid, signal.SIGSTOP)
    assert not threading.Event().wait(2.5)  # seconds; less than what passes for hanging
    os.kill(holder.pid, signal.SIGCONT)
    wait_until(lambda: hold.over == "limit", 20, "the limit", lambda: hold.over)
    assert hold.held > 3.5
    assert one.line() == "executed"


def test_limit_that_kills(holder: Holder, victim: Callable[..., Victim]) -> None:
    """At the limit it is killed, if that was asked for, before its first instruction, with the reason on its stderr."""
    one = victim()
    hold = _hold(holder, one, 0.5, kill=True)
    one.execute()
    assert one.line() == "dockercni: stopped because its network was not ready within 0.5 s (on-failure is stop)"
    assert one.line() == ""
    assert one.process.wait(10) == -signal.SIGKILL
    wait_until(lambda: bool(hold.over), 10, "its end")


def test_killed_while_it_stands(holder: Holder, victim: Callable[..., Victim]) -> None:
    """SIGKILL ends it while it stands still, at once, and its parent reaps it."""
    one = victim()
    hold = _hold(holder, one)
    one.execute()
    _stopped(hold)
    os.kill(one.pid, signal.SIGKILL)
    assert one.process.wait(5) == -signal.SIGKILL
    wait_until(lambda: bool(hold.over), 10, "its end")


def test_signals_pass(holder: Holder, victim: Callable[..., Victim]) -> None:
    """Signals reach what is traced as without us: a stop signal stops it until SIGCONT, and SIGTERM ends it."""
    one = victim()
    hold = _hold(holder, one)
    os.kill(one.pid, signal.SIGSTOP)
    wait_until(lambda: one.state in "tT", 10, "the stop")
    one.execute()
    with pytest.raises(TimeoutError):
        wait_until(lambda: hold.stopped, 1, "an execve although it is stopped")
    os.kill(one.pid, signal.SIGCONT)
    _stopped(hold)
    hold.go()
    assert one.line() == "executed"
    os.kill(one.pid, signal.SIGTERM)
    assert one.process.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize("step", STEPS)
def test_helper_killed(holder: Holder, victim: Callable[..., Victim], step: str) -> None:
    """When the helper is killed, at whichever step of a hold, what it held runs on, the hold is over, and the next hold
    has a new helper.
    """
    one = victim()
    hold = _reach(step, holder, one)
    os.kill(holder.pid, signal.SIGKILL)
    if step in BEFORE:
        one.execute()
    assert one.line() == "executed"
    wait_until(lambda: hold.over in {"the helper ended", *AFTER[step]}, 10, "its end", lambda: hold.over)
    two = victim()
    again = _hold(holder, two)
    two.execute()
    _stopped(again)
    again.go()
    assert two.line() == "executed"


@pytest.mark.parametrize(("settled", "step"), [(0.0, "seized"), (60.0, "stopped")])
def test_helper_comes_back(
    holder: Holder, victim: Callable[..., Victim], monkeypatch: pytest.MonkeyPatch, settled: float, step: str
) -> None:
    """A helper that ends has a successor at once, before any hold needs it, if it was up for a moment or has held a
    process already; none when the holder is closed.
    """
    monkeypatch.setattr(hold_module, "_SETTLED", settled)
    _reach(step, holder, victim())
    first = holder.pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: holder.pid not in {0, first}, 10, "another helper")
    second = holder.pid
    holder.close()
    wait_until(lambda: not Path(f"/proc/{second}").exists(), 10, "its end")
    assert holder.pid == 0


@pytest.mark.parametrize("step", STEPS)
def test_helper_hangs(holder: Holder, victim: Callable[..., Victim], step: str) -> None:
    """A helper that hangs, at whichever step of a hold, is noticed and killed, and what it held runs on."""
    one = victim()
    hold = _reach(step, holder, one)
    os.kill(holder.pid, signal.SIGSTOP)
    if step in BEFORE:
        one.execute()
    assert one.line() == "executed"
    wait_until(lambda: bool(hold.over), 40, "its end")


@pytest.mark.parametrize("step", ["seized", "stopped"])
def test_helper_hangs_and_daemon_too(victim: Callable[..., Victim], monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """If the daemon hangs as well, a timer of the kernel kills the helper."""
    monkeypatch.setattr(hold_module, "_PROGRAM", IMPATIENT)
    monkeypatch.setattr(hold_module, "_next", lambda link, _: link.recv(4096))
    one, holder = victim(), Holder()
    hold = _reach(step, holder, one)
    os.kill(holder.pid, signal.SIGSTOP)
    if step in BEFORE:
        one.execute()
    assert one.line() == "executed"
    wait_until(lambda: hold.over == "the helper ended", 10, "its end")
    holder.close()


IMPATIENT = hold_module._PROGRAM.replace("main(", "helper.HANGING = 2.0; main(").replace(
    "from dockercni.linux.hold.helper import main", "from dockercni.linux.hold import helper; main = helper.main"
)


def test_helper_that_starts_slowly(victim: Callable[..., Victim], monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper that takes long to start is no helper that hangs."""
    monkeypatch.setattr(hold_module, "_PROGRAM", f"import time; time.sleep(2); {hold_module._PROGRAM}")
    monkeypatch.setattr(hold_module, "_SILENT", 0.7 * helper.ALIVE)  # twice that is less than it takes to start
    holder = Holder()
    holder.start()
    started = holder.pid
    hold = _hold(holder, victim())
    assert (hold.over, holder.pid) == ("", started)
    holder.close()


def test_helper_waits_for_long(holder: Holder, victim: Callable[..., Victim]) -> None:
    """A helper that works is not killed, however long it holds, or has nothing to hold."""
    one = victim()
    hold = _hold(holder, one)
    one.execute()
    _stopped(hold)
    ended = threading.Event()
    assert not ended.wait(2 * hold_module._SILENT + 1)
    assert not hold.over
    assert one.state == "t"
    hold.go()
    assert one.line() == "executed"
    idle = holder.pid
    assert not ended.wait(2 * hold_module._SILENT + 1)
    assert holder.pid == idle


@pytest.mark.parametrize("step", STEPS)
def test_daemon_ends(victim: Callable[..., Victim], step: str) -> None:
    """When the daemon's end of the link is gone, at whichever step, all runs on, and the helper is gone, too."""
    holder = Holder()
    one = victim()
    _reach(step, holder, one)
    helper = holder.pid
    holder.close()
    if step in BEFORE:
        one.execute()
    assert one.line() == "executed"
    wait_until(lambda: not Path(f"/proc/{helper}").exists(), 10, "the helper's end, reaped")


def test_foreign_tracer(holder: Holder, victim: Callable[..., Victim]) -> None:
    """A process that another tracer has is left to it."""
    one = victim()
    other = Holder()
    first = _hold(other, one)
    hold = _hold(holder, one)
    wait_until(lambda: bool(hold.over), 10, "the refusal")
    assert hold.over == "Operation not permitted"
    assert one.tracer == other.pid
    one.execute()
    _stopped(first)
    other.close()
    assert one.line() == "executed"


@pytest.mark.parametrize(
    ("mistake", "why"),
    [("pidfd", "ended"), ("namespace", "in another network namespace"), ("cgroup", "in another cgroup")],
)
def test_wrong_process(
    holder: Holder, victim: Callable[..., Victim], monkeypatch: pytest.MonkeyPatch, mistake: str, why: str
) -> None:
    """A process id that was reused is noticed after the seizing, and that process is released at once."""
    one = victim()
    namespace, cgroup = one.namespace, one.cgroup
    if mistake == "pidfd":
        dead = subprocess.Popen(["true"])
        pidfd = os.pidfd_open(dead.pid)
        dead.wait()
        monkeypatch.setattr(os, "pidfd_open", lambda _: pidfd)
    elif mistake == "namespace":
        namespace = runc_stages.namespace(os.getpid())
    else:
        cgroup = Path("/dev/null")
    hold = holder.hold(Limit(30), lambda: None)
    hold.seize(one.pid, namespace, cgroup)
    wait_until(lambda: not hold._pidfds, 10, "the refusal")
    assert hold.over == ("" if mistake == "pidfd" else why)  # another process of the container may come yet
    assert one.tracer == 0
    one.execute()
    assert one.line() == "executed"
    assert not hold.stopped


def test_moved_by_crun(holder: Holder, victim: Callable[..., Victim]) -> None:
    """A process that crun has moved into `container` below its cgroup since it was seen is held all the same."""
    one = victim()
    (below := one.cgroup / "container").mkdir()
    (below / "cgroup.procs").write_text(str(one.pid))
    try:
        hold = _hold(holder, one)
        one.execute()
        _stopped(hold)
        hold.go()
        assert one.line() == "executed"
    finally:
        (one.cgroup / "cgroup.procs").write_text(str(one.pid))
        below.rmdir()


@pytest.mark.parametrize("reaped", [True, False])
def test_stage_that_ended(
    holder: Holder, victim: Callable[..., Victim], monkeypatch: pytest.MonkeyPatch, *, reaped: bool
) -> None:
    """A stage of the runtime that has ended when it is to be seized is no reason not to hold the next one."""
    stage = subprocess.Popen(["true"])
    pidfd = os.pidfd_open(stage.pid)
    assert select.select([pidfd], [], [], 10)[0]
    if reaped:
        stage.wait()
    one = victim()
    hold = holder.hold(Limit(30), lambda: None)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pidfd_open", lambda _: pidfd)
        hold.seize(stage.pid, one.namespace, one.cgroup)
    wait_until(lambda: not hold._pidfds, 10, "the news of its end")
    assert hold.over == ""
    hold.seize(one.pid, one.namespace, one.cgroup)
    wait_until(lambda: one.tracer == holder.pid, 10, "the helper as its tracer")
    one.execute()
    _stopped(hold)
    hold.go()
    assert one.line() == "executed"
    stage.wait()


def test_running_container(holder: Holder, victim: Callable[..., Victim]) -> None:
    """A process that executes its program already is not stopped at the next one that it executes."""
    one = victim()
    one.execute()
    assert one.line() == "executed"
    hold = _hold(holder, one)
    wait_until(lambda: bool(hold.over), 10, "the refusal")
    assert hold.over == "it executes the entrypoint already"
    assert one.tracer == 0


def test_many(holder: Holder, victim: Callable[..., Victim]) -> None:
    """Twenty at a time stand still and are released one by one."""
    pairs = [(one, _hold(holder, one)) for one in (victim() for _ in range(20))]
    for one, _ in pairs:
        one.execute()
    for _, hold in pairs:
        _stopped(hold)
    for one, hold in pairs:
        hold.go()
        assert one.line() == "executed"
        wait_until(lambda: hold.over == "go", 10, "its end")  # noqa: B023  called at once
