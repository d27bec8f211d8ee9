"""ARCHITECTURE.md names modules and functions: each of them exists, and a container's life has ten stops."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PLACES = re.findall(r"`([\w/]+\.py)`(?:\s+`([\w.]+)`)?", TEXT)


@pytest.mark.parametrize(("file", "name"), PLACES)
def test_each_place_exists(file: str, name: str) -> None:
    """The module is there, and defines what is named with it."""
    tree: ast.AST = ast.parse((ROOT / "dockercni" / file).read_text(encoding="utf-8"))
    for part in name.split(".") if name else ():
        found = [
            node
            for node in ast.iter_child_nodes(tree)
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == part
        ]
        assert found, f"{file} has no {name}"
        tree = found[0]


def test_ten_stops() -> None:
    """They are numbered, and each names a module."""
    stops = re.findall(r"^(\d+)\. (.+?)(?=^\d+\. |\n\n)", TEXT, re.MULTILINE | re.DOTALL)
    assert [int(number) for number, _ in stops] == list(range(1, 11))
    assert [text for _, text in stops if ".py`" not in text] == []
