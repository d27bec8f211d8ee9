"""The table of threats: each row with a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
TESTS = re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)


@pytest.mark.parametrize(("file", "test"), TESTS)
def test_each_threat_has_its_test(file: str, test: str) -> None:
    """A test that docs/security.md names is there."""
    assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8")


def test_each_row_names_a_test() -> None:
    """No threat is listed without one."""
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and "::" not in line]
    assert [row for row in rows if not row.startswith(("| threat |", "| **"))] == []


def test_no_security_test_is_left_out() -> None:
    """Every test that was written for a threat is in the table."""
    named = {test for _, test in TESTS}
    sources = [*Path(__file__).parent.glob("test_*.py"), ROOT / "tests" / "engine" / "test_security.py"]
    written = {
        test
        for source in sources
        if source.name != Path(__file__).name
        for test in re.findall(r"^def (test_\w+)\(", source.read_text(encoding="utf-8"), re.MULTILINE)
    }
    helpers = {"test_file_below", "test_resolv_conf_is_often_a_link", "test_port_mappings_of_other_runtimes"}
    assert written - named == helpers
