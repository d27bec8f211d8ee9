"""Waiting for a condition: the only place where the tests sleep."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], timeout: float, what: str, detail: Callable[[], object] | None = None) -> T:
    """Poll until the predicate is true and return what it returned; a failure says what was waited for."""
    deadline = time.monotonic() + timeout
    pause = 0.002
    while True:
        late = time.monotonic() >= deadline
        if outcome := predicate():
            return outcome
        if late:
            shown = f"\n{detail()}" if detail else ""
            raise TimeoutError(f"waited {timeout:g} s in vain: {what}{shown}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
