"""dockercni settings: what is printed of the settings."""

import json
from pathlib import Path

import pytest

from dockercni import settings
from dockercni.cli import main


@pytest.fixture(autouse=True)
def _bare_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings, "DEFAULT_FILE", tmp_path / "default.toml")


def test_values_and_origins_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each setting stands in a line with its value and the place that it comes from."""
    file = tmp_path / "default.toml"
    file.write_text('plugin-timeout = "1500ms"')
    monkeypatch.setenv("DOCKERCNI_RESYNC_INTERVAL", "off")
    assert main(["settings", "--workers", "3"]) == 0
    lines = [line.split(None, 2) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["SETTING", "VALUE", "FROM"]
    assert [line[0] for line in lines[1:]] == [setting.key for setting in settings.TABLE]
    assert ["plugin-timeout", "1500ms", str(file)] in lines
    assert ["resync-interval", "off", "environment DOCKERCNI_RESYNC_INTERVAL"] in lines
    assert ["workers", "3", "flag --workers"] in lines
    assert ["default-network", '""', "default"] in lines


def test_json_has_the_default_too(capsys: pytest.CaptureFixture[str]) -> None:
    """As an object each setting has its value, default, origin, and whether a running daemon keeps it."""
    assert main(["settings", "-o", "json", "--attach=labelled"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["schema"] == 1
    assert printed["settings"]["attach"] == {
        "value": "labelled",
        "default": "all",
        "origin": "flag --attach",
        "fixed": False,
    }
    assert printed["settings"]["run-dir"]["fixed"] is True


def test_an_old_name_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The value stands under the new name; what to change is said, and scripts find the old key with its old values."""
    file = tmp_path / "default.toml"
    file.write_text('engine = "native"')
    assert main(["settings"]) == 0
    printed = capsys.readouterr()
    assert ["backend", "builtin", str(file)] in [line.split(None, 2) for line in printed.out.splitlines()]
    assert printed.err == (
        f"dockercni: {file}: engine is the old name of backend; rename it, the next release refuses it\n"
    )
    assert main(["settings", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["settings"]["backend"]["value"], found["settings"]["engine"]["value"]) == ("builtin", "native")
    assert found["oldNames"] == [{"name": "engine", "setting": "backend", "origin": str(file)}]


@pytest.mark.parametrize("setting", settings.TABLE, ids=lambda setting: setting.key)
def test_what_is_printed_can_be_given_back(setting: settings.Setting) -> None:
    """The spelling of every default means the same value again."""
    value = setting.kind.parse(settings.spelled(setting.default))
    assert setting.kind.parse(settings.spelled(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "500ms"),
        (90.0, "90s"),
        (60.0, "1m"),
        (7200.0, "2h"),
        (1.5, "1500ms"),
        (None, "off"),
        (True, "true"),
        (8, "8"),
    ],
)
def test_values_are_spelled_as_in_the_file(value: object, text: str) -> None:
    """Durations have the largest unit that is exact."""
    assert settings.spelled(value) == text


def test_a_wrong_setting_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A value that is not allowed is exit code 2, with nothing on stdout."""
    assert main(["settings", "--workers=0"]) == 2
    assert capsys.readouterr().out == ""
