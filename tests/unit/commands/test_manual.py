"""dockercni man, and the reference in docs/."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dockercni import settings
from dockercni.cli import main
from dockercni.commands.manual import markdown, roff
from dockercni.commands.table import COMMANDS

ROOT = Path(__file__).parents[3]


def test_the_pages_are_those_of_this_program() -> None:
    """docs/commands.md and docs/settings.md are what scripts/reference.py would make them."""
    for name, text in markdown.pages().items():
        written = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert written == text, "run: PYTHONPATH=. python scripts/reference.py"


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], ids=lambda page: page.name)
def test_links_between_pages(page: Path) -> None:
    """What a page links to in this tree is there."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_reference_has_everything() -> None:
    """Every command, option and setting stands in the reference."""
    reference = "".join(markdown.pages().values())
    wanted = [f"`dockercni {command.name} " for command in COMMANDS]
    wanted += [f"| `{setting.key}`" for setting in settings.TABLE]
    wanted += [argument.names[0] for command in COMMANDS for argument in command.arguments if not argument.positional]
    assert [text for text in wanted if text not in reference] == []


def test_a_page_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command the program's own page, with one that command's."""
    assert main(["man"]) == 0
    assert capsys.readouterr().out.startswith(".TH DOCKERCNI 8")
    assert main(["man", "networks", "validate"]) == 0
    assert capsys.readouterr().out.startswith(".TH DOCKERCNI-NETWORKS-VALIDATE 8")


def test_an_unknown_command_has_no_page(capsys: pytest.CaptureFixture[str]) -> None:
    """A page that does not exist is a usage error with the nearest one."""
    assert main(["man", "snyc"]) == 2
    assert capsys.readouterr().err == "dockercni: there is no command 'snyc'; did you mean sync?\n"


def test_all_pages_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--directory makes the directory, and puts every page into it."""
    assert main(["man", "--directory", str(tmp_path / "man8")]) == 0
    written = sorted(path.name for path in (tmp_path / "man8").iterdir())
    assert written == sorted(roff.pages())
    assert len(written) == len(COMMANDS) + 1
    assert len(capsys.readouterr().out.splitlines()) == len(written)


def test_an_unwritable_directory_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be written is named."""
    (tmp_path / "file").touch()
    assert main(["man", "--directory", str(tmp_path / "file" / "man8")]) == 1
    assert capsys.readouterr().err.startswith(f"dockercni: cannot write {tmp_path / 'file'}")


@pytest.mark.parametrize("name", sorted(roff.pages()))
def test_groff_has_no_complaint(name: str) -> None:
    """Every page is well-formed."""
    groff = shutil.which("groff")
    if not groff:
        pytest.skip("no groff here")
    done = subprocess.run(
        [groff, "-man", "-Tutf8", "-ww"], input=roff.pages()[name], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
