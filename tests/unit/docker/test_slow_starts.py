"""Starts on a machine where everything takes long: how long each step may take."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from dockercni.docker import start_watch as module
from dockercni.docker.start_watch import StartWatch
from dockercni.linux.hold import helper
from dockercni.linux.hold.holder import Limit
from dockercni.model import Container

if TYPE_CHECKING:
    from pathlib import Path

ID = "0" * 64


@pytest.mark.parametrize(("hold", "within"), [(0.0, module.NAMESPACE_WITHIN), (100.0, 100.0)])
def test_a_namespace_may_come_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hold: float, within: float) -> None:
    """A start is followed for as long as it may be held, though no process has a namespace yet, then named."""
    nobody: Any = None
    known = Container(ID, "web", running=True)
    one = StartWatch(tmp_path, lambda _: known, lambda _: Limit(hold), nobody, nobody, nobody)
    (cgroup := tmp_path / f"docker-{ID}.scope").mkdir()
    (cgroup / "cgroup.procs").touch()
    one._appeared(str(cgroup))
    (finding,) = one._findings.values()
    with capture_logs() as logs:
        for later, followed in ((within - 0.5, True), (within + 0.5, False)):
            monkeypatch.setattr(module.time, "monotonic", lambda later=later: finding.since + later)
            one._advance(finding)
            assert bool(one._findings) is followed
            assert [(log["event"], log["container"]) for log in logs] == (
                [] if followed else [("start not followed", "web")]
            )


def test_a_cgroup_that_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start whose processes have all ended is over, even if its cgroup stays; one that is slow is not."""
    nobody: Any = None
    one = StartWatch(tmp_path, nobody, nobody, nobody, nobody, nobody)
    (cgroup := tmp_path / f"docker-{ID}.scope").mkdir()
    (cgroup / "cgroup.procs").touch()
    one._appeared(str(cgroup))
    (finding,) = one._findings.values()
    ended: list[bool] = []
    hold: Any = SimpleNamespace(stopped=False, over="", finish=lambda: ended.append(True))
    start: Any = SimpleNamespace()
    finding.container, finding.start, finding.hold = Container(ID, "web", running=True), start, hold
    for later, populated, over in ((1.0, False, False), (60.0, True, False), (60.0, False, True)):
        monkeypatch.setattr(module.time, "monotonic", lambda later=later: finding.since + later)
        monkeypatch.setattr(module.cgroups, "populated", lambda _, populated=populated: populated)
        one._advance(finding)
        assert bool(one._findings) is not over
        assert ended == [True] * over


@pytest.mark.parametrize(("age", "pause"), [(0.0, 0.0005), (0.2, 0.002), (3.0, 0.02), (8.0, 0.1)])
def test_slow_starts_are_looked_at_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: float, pause: float
) -> None:
    """The older the youngest start is, the longer are the pauses: what they leave is there for the ADDs."""
    nobody: Any = None
    one = StartWatch(tmp_path, nobody, nobody, nobody, nobody, nobody)
    now = module.time.monotonic()
    for number, older in enumerate((0.0, 60.0)):
        (cgroup := tmp_path / f"docker-{number:064x}.scope").mkdir()
        one._appeared(str(cgroup))
        one._findings[str(cgroup)].since = now - older
    monkeypatch.setattr(module.time, "monotonic", lambda: now + age)
    assert one._pause() == pause


@pytest.mark.parametrize(("hold", "within"), [(1.0, helper.STARTING), (100.0, 100.0)])
def test_an_execve_may_come_late(monkeypatch: pytest.MonkeyPatch, hold: float, within: float) -> None:
    """A process that is followed to its execve may take as long to get there as it may be held there."""
    monkeypatch.setattr(helper.time, "monotonic", lambda: 1000.0)
    assert helper.Traced("1", 1, -1, hold, "go").deadline == 1000.0 + within
