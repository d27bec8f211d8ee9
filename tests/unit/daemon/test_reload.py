"""dockercni.daemon.loop: what a running daemon takes over."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from dockercni import settings
from dockercni.cli import main
from dockercni.daemon.loop import Daemon, SettingChange, reloaded


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "dockercni.toml"
    path.touch()
    return path


def test_what_can_change_does(file: Path) -> None:
    """The new value is in the settings, and in the list of changes as the file spells it."""
    old = settings.load({}, {}, file)
    new = settings.load({"resync-interval": "off", "attach": "labelled", "workers": "3", "run-dir": "/x"}, {}, file)
    taken = reloaded(old, new)
    assert (taken.settings.resync_interval, taken.settings.attach) == (None, "labelled")
    assert (taken.settings.workers, taken.settings.run_dir) == (old.workers, old.run_dir)
    assert set(taken.applied) == {
        SettingChange("resync-interval", "5m", "off"),
        SettingChange("attach", "all", "labelled"),
    }
    assert set(taken.refused) == {SettingChange("workers", "8", "3"), SettingChange("run-dir", "/run/dockercni", "/x")}


def test_nothing_new(file: Path) -> None:
    """The same values, wherever they come from now, are no change."""
    old = settings.load({}, {}, file)
    file.write_text("workers = 8")
    taken = reloaded(old, settings.load({}, {}, file))
    assert (taken.applied, taken.refused, taken.settings) == ((), (), old)


@pytest.mark.parametrize("row", settings.TABLE, ids=lambda row: row.key)
def test_every_setting_is_one_or_the_other(file: Path, row: settings.Setting) -> None:
    """Directories, the engine, the number of workers and what watches starts are fixed, and nothing else is."""
    fixed = row.key.endswith("-dir") or row.key in {"docker-host", "docker-root", "workers", "hold"}
    assert row.fixed is fixed


def test_old_names_are_in_the_log(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The daemon warns of a setting's old name when it starts and when it reads the settings again."""
    reason = "engine is the old name of backend; rename it, the next release refuses it"
    monkeypatch.setattr("os.geteuid", lambda: 1000)  # it goes no further
    assert main(["daemon", "--engine=native", f"--settings={file}"]) == 77
    assert f"flag --engine: {reason}" in capsys.readouterr().err
    old = settings.load({}, {}, file)
    file.write_text('engine = "auto"')
    daemon: Any = SimpleNamespace(
        _reload=lambda: settings.load({}, {}, file), _jobs=SimpleNamespace(app=SimpleNamespace(settings=old))
    )
    with capture_logs() as logged:
        Daemon._reload_settings(daemon)
    assert [one["reason"] for one in logged] == [f"{file}: {reason}"]
