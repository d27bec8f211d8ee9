"""The table of differences itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.differential.differences import ALLOWED, MISSING, found

CASES = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__))


@pytest.mark.parametrize("name", ALLOWED)
def test_every_row_is_met(name: str) -> None:
    """Each row is expected by some case, which fails when it does not meet it."""
    assert f'"{name}"' in CASES


def test_differences_have_places() -> None:
    """A difference is told by where it is, and by the values on either side."""
    assert found({"a": [1, {"b": 2}], "c": {}}, {"a": [1, {"b": 3}], "d": []}) == [
        ("a[1].b", 2, 3),
        ("c", {}, MISSING),
        ("d", MISSING, []),
    ]
