"""What the differential tests need of the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.differential.side import EXECUTABLES

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of it is slow: each case runs in two hosts."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _able() -> None:
    """Root, and the reference executables."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not (EXECUTABLES / "bridge").exists():
        pytest.skip(f"no reference executables in {EXECUTABLES}")
