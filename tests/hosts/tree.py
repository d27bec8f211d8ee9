"""This tree, and copies of it as somebody has it who clones; git is not asked, since a copy has no history."""

from __future__ import annotations

import shutil
from pathlib import Path

TREE = Path(__file__).parents[2]
MADE = (".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "dist", "build")


def copy_tree(tree: Path, to: Path) -> None:
    """Copy it, without what was made in it: all that .gitignore names."""
    shutil.copytree(tree, to, ignore=shutil.ignore_patterns(*MADE), symlinks=True, dirs_exist_ok=True)
