"""What the differential tests need of the machine."""

from __future__ import annotations

import os

import pytest

from tests.differential.side import EXECUTABLES


@pytest.fixture(autouse=True)
def _able() -> None:
    """Root, and the reference executables."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not (EXECUTABLES / "bridge").exists():
        pytest.skip(f"no reference executables in {EXECUTABLES}")
