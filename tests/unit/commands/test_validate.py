"""dockercni networks validate: what is said of a file, without root and without an engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dockercni import settings
from dockercni.cli import main


@pytest.fixture(autouse=True)
def _bare_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings, "DEFAULT_FILE", tmp_path / "default.toml")
    monkeypatch.setenv("DOCKERCNI_ENGINE", "exec")


def test_plugins_of_this_process_need_no_executable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where dockercni serves a plugin itself, that it does is said, and no executable is missed."""
    monkeypatch.setenv("DOCKERCNI_ENGINE", "auto")
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]]}
    file = write(tmp_path / "a.conflist", "bridge", ipam=ipam)
    assert main(["networks", "validate", str(file), f"--cni-bin-dir={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert out.count("in dockercni itself") == 2
    file = write(tmp_path / "b.conflist", "bridge", "macvlan", ipam={"type": "dhcp"})
    assert main(["networks", "validate", str(file), f"--cni-bin-dir={tmp_path}"]) == 1
    assert 'plugin "macvlan" not found' in capsys.readouterr().out


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """A directory with plugins that know VERSION only: `bridge` and `host-local` up to 1.0.0, `odd` says nothing."""
    directory = tmp_path / "bin"
    directory.mkdir()
    answer = json.dumps({"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"]})
    for name, body in {
        "bridge": f"[ $CNI_COMMAND = VERSION ] && echo '{answer}'",
        "host-local": f"echo '{answer}'",
        "odd": "echo nothing",
        "empty": "echo '{}'",
        "bad": "echo trouble >&2; exit 1",
    }.items():
        (directory / name).write_text(f"#!/bin/sh\n{body}\n")
        (directory / name).chmod(0o755)
    return directory


def write(path: Path, *types: str, version: str = "1.0.0", name: str = "lan", **more: object) -> Path:
    chain = [{"type": kind, **more} for kind in types]
    path.write_text(json.dumps({"cniVersion": version, "name": name, "plugins": chain}, indent=1))
    return path


def test_a_good_file(tmp_path: Path, plugins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line with network, version, plugins with their versions, IPAM included, and capabilities."""
    file = write(
        tmp_path / "a.conflist", "bridge", ipam={"type": "host-local"}, capabilities={"ips": True, "mac": False}
    )
    assert main(["networks", "validate", str(file), f"--cni-bin-dir={plugins}"]) == 0
    spoken = [f"{kind} (0.4.0 to 1.0.0, {plugins / kind})" for kind in ("bridge", "host-local")]
    expected = f"plugins {', '.join(spoken)}, capabilities ips"
    assert capsys.readouterr().out == f"{file}: network lan, CNI 1.0.0, {expected}\n"
    assert main(["networks", "validate", str(file), f"--cni-bin-dir={plugins}", "-o", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["problems"] == []
    assert printed["networks"][0]["plugins"]["bridge"] == {
        "path": str(plugins / "bridge"),
        "versions": ["0.4.0", "1.0.0"],
    }


PROBLEMS = [
    (
        {"types": ("bridge",), "version": "1.1.0"},
        ":2:2: cniVersion: plugin bridge (",
        "supports CNI 0.4.0 to 1.0.0, not 1.1.0",
    ),
    ({"types": ("brigde",)}, ":6:4: type: ", 'plugin "brigde" not found; searched '),
    ({"types": ("odd",)}, ":6:4: type: ", "answers VERSION with no JSON"),
    ({"types": ("empty",)}, ":6:4: type: ", "answers VERSION without supportedVersions"),
    ({"types": ("bad",)}, ":6:4: type: ", "trouble"),
    ({"types": ("bridge",), "ipam": {"type": "nowhere"}}, ":8:5: type: ", 'plugin "nowhere" not found'),
    (
        {"types": ("bridge",), "capabilities": {"portMapping": True}},
        ":8:5: portMapping: ",
        "nobody gives the capability portMapping; did you mean portMappings?",
    ),
]


@pytest.mark.parametrize(("file", "place", "words"), PROBLEMS, ids=[row[2][:30] for row in PROBLEMS])
def test_each_problem_is_a_line_with_its_place(
    tmp_path: Path, plugins: Path, capsys: pytest.CaptureFixture[str], file: dict[str, object], place: str, words: str
) -> None:
    """File, line, column and key, then what is wrong; exit code 1."""
    types = file.pop("types")
    assert isinstance(types, tuple)
    path = write(tmp_path / "a.conflist", *types, **file)  # type: ignore[arg-type]
    assert main(["networks", "validate", str(path), f"--cni-bin-dir={plugins}"]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"{path}{place}")
    assert words in out
    assert len(out.splitlines()) == 1


def test_an_unknown_capability_that_is_like_no_other_may_be_a_plugins_own(tmp_path: Path, plugins: Path) -> None:
    """Only what is nearly one that everybody knows is taken for a mistake."""
    file = write(tmp_path / "a.conflist", "bridge", capabilities={"com.example.quux": True})
    assert main(["networks", "validate", str(file), f"--cni-bin-dir={plugins}"]) == 0


def test_one_bad_file_does_not_hide_the_others(
    tmp_path: Path, plugins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every file is looked at; one that is missing, broken or doubles a name is a problem of its own."""
    good = write(tmp_path / "a.conflist", "bridge")
    twin = write(tmp_path / "b.conflist", "bridge")
    broken = tmp_path / "c.conflist"
    broken.write_text('{\n "name": "x" // why\n}')
    files = [str(broken), str(good), str(twin), str(tmp_path / "none.conflist")]
    assert main(["networks", "validate", *files, f"--cni-bin-dir={plugins}"]) == 1
    first, *problems = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{good}: network lan")
    assert problems == [
        f"{broken}:2:14: expecting ',' delimiter (JSON has no comments)",
        f'{twin}:3:2: name: network "lan" is already defined by {good}',
        f"{tmp_path / 'none.conflist'}: cannot be read: No such file or directory",
    ]


def test_the_same_file_twice_is_one(tmp_path: Path, plugins: Path) -> None:
    """A file does not collide with itself."""
    file = write(tmp_path / "a.conflist", "bridge")
    assert main(["networks", "validate", str(file), str(file), f"--cni-bin-dir={plugins}"]) == 0
