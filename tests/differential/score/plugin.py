"""For `pytest -p`: the seam in the process of the tests, and in those that they start."""

from __future__ import annotations

from tests.differential.score import seam


def pytest_configure() -> None:
    """Before anything is collected."""
    seam.install()
