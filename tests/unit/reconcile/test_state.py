"""Small files of our own."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from dockercni.reconcile import state

if TYPE_CHECKING:
    from pathlib import Path


def test_round_trip(tmp_path: Path) -> None:
    """What was written is read back; file and directory are for root only, and nothing else is left there."""
    path = tmp_path / "state" / "one.json"
    assert state.read(path, dict[str, str], {"default": "x"}) == {"default": "x"}
    state.write(path, {"a": "b"})
    state.write(path, {"a": "c"})
    assert state.read(path, dict[str, str], {}) == {"a": "c"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"schema": 1}', "damaged"),
        ('{"schema": 1, "value": 7}', "damaged"),
        ('{"schema": 2, "value": {}}', "newer version"),
    ],
)
def test_unusable(tmp_path: Path, text: str, words: str) -> None:
    """A damaged file, or one of a newer version, is an error that names it."""
    path = tmp_path / "one.json"
    path.write_text(text)
    with pytest.raises(state.StateError, match=words) as caught:
        state.read(path, dict[str, str], {})
    assert str(path) in str(caught.value)


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A symbolic link in place of the file is refused."""
    (tmp_path / "target").write_text('{"schema": 1, "value": {}}')
    (tmp_path / "one.json").symlink_to("target")
    with pytest.raises(state.StateError, match="cannot read"):
        state.read(tmp_path / "one.json", dict[str, str], {})


def test_cannot_write(tmp_path: Path) -> None:
    """Where it cannot be written the error names the file."""
    (tmp_path / "file").touch()
    with pytest.raises(state.StateError, match=r"cannot write .*file/one\.json"):
        state.write(tmp_path / "file" / "one.json", {})


def test_what_only_helps_is_best_effort(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be read is as good as missing, what cannot be written is left; each is one warning until it works."""
    directory = tmp_path / "file"
    directory.touch()
    for name in ("one.json", "two.json", "one.json"):
        assert not state.keep(directory / name, {})
    assert "".join(capsys.readouterr()).count("not remembered") == 1
    directory.unlink()
    assert state.keep(directory / "one.json", {"a": "b"})
    assert state.recall(directory / "one.json", dict[str, str], {}) == {"a": "b"}
    (directory / "one.json").write_text("{")
    for _ in range(3):
        assert state.recall(directory / "one.json", dict[str, str], {"c": "d"}) == {"c": "d"}
    assert "".join(capsys.readouterr()).count("forgotten") == 1


def test_what_a_newer_version_wrote_is_refused_all_the_same(tmp_path: Path) -> None:
    """Nothing is guessed from it, and nothing of it is lost."""
    (tmp_path / "one.json").write_text('{"schema": 2, "value": {}}')
    with pytest.raises(state.TooNew, match="newer version"):
        state.recall(tmp_path / "one.json", dict[str, str], {})
