"""Runs of pytest: of all cases to record what they contain, of some with one key broken."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.differential.score import seam
from tests.differential.score.breakage import Breakage

ROOT: Final = Path(__file__).parents[3]
SUITES: Final = ("tests/differential", "tests/unit/plugins", "tests/netns/native")
_LEFT_OUT: Final = (
    "tests/differential/test_generated.py",  # what hypothesis finds it makes smaller, for minutes
    "tests/differential/test_shared_store.py",
    "tests/unit/plugins/test_host_local.py::TestStore",
    "tests/differential/test_score.py",
    "tests/unit/plugins/test_skeleton.py",  # these have plugins of their own
    "tests/unit/plugins/test_dispatch.py",
    "tests/netns/native/test_kill.py",  # takes long, and is about something else
)
_FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (\S+\.py::.*?)(?: - .*)?$", re.MULTILINE)
_OK, _TESTS_FAILED = 0, 1


class CannotTell(Exception):
    """A run ended in a way that says nothing about the cases."""


def record(processes: int, file: Path) -> None:
    """Run everything unbroken. Raises CannotTell unless all of it passes."""
    left_out = [f"--deselect={each}" for each in _LEFT_OUT]
    several = ["-n", str(processes), "--dist=worksteal"]
    done = _pytest([*several, *left_out, *SUITES], {seam.RECORD: str(file)})
    if done.returncode != _OK:
        raise CannotTell(done.stdout)


def catch(broken: Breakage, cases: Sequence[str]) -> str:
    """The first of `cases` that fails when that key is broken; "" if none does. Raises CannotTell."""
    if not cases:
        return ""
    done = _pytest(["-x", *cases], {seam.BREAK: broken.encode()})
    if done.returncode == _OK:
        return ""
    found = _FAILED.search(done.stdout)
    if done.returncode != _TESTS_FAILED or not found:
        raise CannotTell(f"{broken}\n{done.stdout}")
    return found[1]


def _pytest(arguments: Sequence[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    quiet = ["-q", "--tb=no", "-rfE", "--color=no", "-p", "no:cacheprovider", "-p", "tests.differential.score.plugin"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *quiet, *arguments],
        cwd=ROOT,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "10000", **environment},
    )
