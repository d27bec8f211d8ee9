"""The linters, the types and the import rule, as part of the one test command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPTS = (".ci/run", "packaging/debian/p*", "scripts/*.sh", "tests/hosts/*.sh")


def check(*argv: str) -> None:
    """Run a program in the root of the tree; what it says is the failure."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "PYTHONUTF8": "1"}
    done = subprocess.run(
        argv, cwd=ROOT, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}"


def test_ruff_check() -> None:
    """Ruff finds nothing to complain about."""
    check(sys.executable, "-m", "ruff", "check", ".")


def test_ruff_format() -> None:
    """Every file is formatted as ruff would."""
    check(sys.executable, "-m", "ruff", "format", "--check", ".")


def test_types() -> None:
    """Package, private hosts, machines and what compares plugins pass mypy's strict mode."""
    packages = ("dockercni", "tests.hosts", "tests.machines", "tests.emulated", "tests.differential")
    check(sys.executable, "-m", "mypy", *(f"--package={package}" for package in packages))


def test_imports() -> None:
    """Imports point one way (see pyproject.toml)."""
    check(str(Path(sys.executable).with_name("lint-imports")))


def test_scripts() -> None:
    """The shell scripts are well-formed."""
    for script in sorted(path for pattern in SCRIPTS for path in ROOT.glob(pattern)):
        check("bash", "-n", str(script))
