"""Where the early watch or the hold cannot work, that is said once, with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from dockercni.daemon.early_watch import EarlyWatch
from dockercni.docker.client import Client, Engine
from dockercni.gate.client import GateClient
from dockercni.linux import capabilities
from dockercni.settings import load

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def off() -> dict[str, str]:
    """What is said to be off, and why."""
    return {}


@pytest.fixture
def early(tmp_path: Path, off: dict[str, str]) -> Any:
    """Make one whose state is in a directory of the test."""

    def make(**flags: str) -> EarlyWatch:
        given = {"state-dir": str(tmp_path), "hold": "off"} | {key.replace("_", "-"): v for key, v in flags.items()}
        file = tmp_path / "settings.toml"
        file.touch()
        settings = load(given, {}, file)
        return EarlyWatch(settings, Client(settings.docker_host), lambda *_: None, off.__setitem__, lambda: None)

    return make


def test_remote_engine(early: Any, off: dict[str, str]) -> None:
    """An engine that is reached over TCP may be on another machine."""
    with capture_logs() as logs:
        early(docker_host="tcp://10.0.0.1:2375").start()
    assert [log["event"] for log in logs] == ["early watch off"]
    assert "another machine" in logs[0]["reason"]
    assert "another machine" in off["early watch"]


def test_no_hierarchy(early: Any, off: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the gate says of cgroups that it cannot watch is told once, and its end."""
    (tmp_path / "containers").mkdir()
    monkeypatch.setattr(capabilities, "obstacle", lambda: "")
    tell: list[Any] = []
    monkeypatch.setattr(GateClient, "start", lambda gate, *_: tell.append(gate._watching))
    one = early()
    with capture_logs() as logs:
        one.start()
        one.serve(Engine("ID", "20.10", str(tmp_path)))
        for problem in ("inotify is at its limit", "inotify is at its limit", ""):
            tell[0](problem)
            assert off["early watch"] == problem
    assert [log["event"] for log in logs] == ["early watch off", "early watch on"]


def test_confined(early: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What we may not trace is not held, but attached early all the same."""
    monkeypatch.setattr(capabilities, "obstacle", lambda: "this process is confined")
    orders: list[Any] = []
    monkeypatch.setattr(GateClient, "start", lambda _, said, __: orders.append(said))
    with capture_logs() as logs:
        early().start()
    assert [log["event"] for log in logs] == ["hold off"]
    assert not orders[0].may_hold


def test_data_root_elsewhere(early: Any, tmp_path: Path) -> None:
    """A data root that is not here cannot be read; one that is here is remembered for the next run, with its engine."""
    one = early()
    with capture_logs() as logs:
        one.serve(Engine("ID", "20.10", str(tmp_path / "nowhere")))
    assert [log["event"] for log in logs] == ["early watch off"]
    (tmp_path / "containers").mkdir()
    here = Engine("ID", "20.10", str(tmp_path), host_ip="127.0.0.1", mtu=1400)
    one.serve(here)
    assert early().remembered() == here
    (tmp_path / "engine-id").write_text("ANOTHER")
    assert early().remembered() is None
