"""The releases that the tests of this folder boot, each when the first test asks for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.hosts import TREE, Host, import_image
from tests.hosts.engine import OVERLAY
from tests.machines import Machine, release

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is left to `make test-engines`."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.install)


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine of the release that the test is for, with this tree in it."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with Host() as host:
        host.start_engine(OVERLAY)
        import_image(host)
        booted = Machine(host, request.param, release(request.param))
        booted.put_tree(TREE)
        yield booted
