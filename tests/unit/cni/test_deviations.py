"""The list of deviations, and the list of conformance: each row with a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "cni-deviations.md").read_text(encoding="utf-8")
TESTS = re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)


@pytest.mark.parametrize(("file", "test"), TESTS)
def test_each_deviation_has_its_test(file: str, test: str) -> None:
    """A test that docs/cni-deviations.md names is there."""
    assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8")


def test_each_row_names_a_test() -> None:
    """No deviation is listed without one."""
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and "::" not in line]
    assert [row for row in rows if not row.startswith("| behaviour |")] == []


@pytest.mark.parametrize("number", range(1, 38))
def test_each_number_has_a_test(number: int) -> None:
    """Each behaviour of libcni's from 1 to 37 is in some test's docstring."""
    sources = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_conformance_*.py")]
    assert any(re.search(rf'"""(?:H\d+, )*H{number}\b', source) for source in sources)
