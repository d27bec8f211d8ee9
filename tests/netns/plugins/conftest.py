"""A private host for each test, whose network stands for a container's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.hosts import Host

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def host() -> Iterator[Host]:
    """A host without an engine."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with Host() as started:
        yield started
