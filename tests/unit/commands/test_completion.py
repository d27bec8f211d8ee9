"""dockercni completion: what the scripts offer, asked of the shell itself."""

import shutil
import subprocess
from pathlib import Path

import pytest

from dockercni.cli import main
from dockercni.commands.manual import choices
from dockercni.commands.table import COMMANDS

ASK = """
source "$1"
shift
# what readline does with a line: "=" is a word of its own
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
compopt() { :; }
_dockercni
printf '%s\\n' "${COMPREPLY[@]}"
"""
FIRST = list(dict.fromkeys(command.name.split()[0] for command in COMMANDS))


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The script for bash, in a file."""
    assert main(["completion", "bash"]) == 0
    path = tmp_path / "completion.bash"
    path.write_text(capsys.readouterr().out)
    return path


def complete(script: Path, *words: str, path: str = "/usr/bin:/bin") -> list[str]:
    """What bash offers for the last word."""
    done = subprocess.run(
        ["bash", "-c", ASK, "bash", str(script), "dockercni", *words],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": path},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_bash_finds_the_script_well_formed(script: Path) -> None:
    """`bash -n` has nothing to say."""
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


LINES = [
    ([""], FIRST),
    (["sta"], ["status"]),
    (["networks", ""], ["validate", "init"]),
    (["networks", "i"], ["init"]),
    (["sync", "--dr"], ["--dry-run"]),
    (["sync", "--def"], ["--default-network"]),
    (["networks", "init", "--f"], ["--force"]),
    (["networks", "--f"], []),
    (["-o", ""], ["table", "wide", "name", "json"]),
    (["check", "-o", ""], ["table", "json"]),
    (["sync", "--output", "j"], ["json"]),
    (["--attach", ""], ["all", "labelled"]),
    (["--attach", "=", "l"], ["labelled"]),
    (["--attach", "="], ["all", "labelled"]),
    (["--attach", "all", "sett"], ["settings"]),
    (["--attach-running", "sett"], ["settings"]),
    (["--attach-running", "="], ["true", "false"]),
    (["--attach-running", "=", "true", "sett"], ["settings"]),
    (["--workers", "3", "completion", ""], ["bash", "zsh", "fish"]),
    (["completion", "bash", ""], []),
    (["man", "ver"], ["version"]),
    (["status", "--wait", "--pr"], ["--probe"]),
]


@pytest.mark.parametrize(("words", "offered"), LINES, ids=" ".join)
def test_bash_offers_what_can_stand_there(script: Path, words: list[str], offered: list[str]) -> None:
    """Commands, options and values are offered where they can stand, and nothing else is."""
    assert complete(script, *words) == offered


def test_bash_offers_containers_networks_and_files(script: Path, tmp_path: Path) -> None:
    """Containers come from docker, networks from dockercni, files and directories from where we are."""
    for name, words in (("docker", "web db"), ("dockercni", "lan wan")):
        fake = tmp_path / "bin" / name
        fake.parent.mkdir(exist_ok=True)
        fake.write_text(f"#!/bin/sh\nprintf '%s\\n' {words}\n")
        fake.chmod(0o755)
    (tmp_path / "some.conflist").touch()
    (tmp_path / "somewhere").mkdir()
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    assert complete(script, "explain", "", path=path) == ["web", "db"]
    assert complete(script, "inspect", "web", "d", path=path) == ["db"]
    assert complete(script, "explain", "web", "", path=path) == []
    assert complete(script, "add", "--network", "l", path=path) == ["lan"]
    start = f"{tmp_path}/some"
    assert sorted(complete(script, "networks", "validate", start)) == [f"{start}.conflist", f"{start}where"]
    assert complete(script, "man", "--directory", start) == [f"{start}where"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_option_is_in_every_script(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    """No shell lacks a command or an option that the table has."""
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    dashes = "-l " if shell == "fish" else "--"
    for command in COMMANDS:
        assert command.name.split()[-1] in out
        for option in choices.options(command):
            assert all(name.replace("--", dashes) in out for name in option.names if name.startswith("--"))


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_find_their_script_well_formed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, shell: str
) -> None:
    """zsh and fish, where they are installed, have nothing to say either."""
    found = shutil.which(shell)
    if not found:
        pytest.skip(f"no {shell} here")
    assert main(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    done = subprocess.run([found, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
