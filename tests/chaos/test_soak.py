"""A short soak; `python -m tests.chaos.soak` is the long one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.soak import MORE_KIB, grown, soak
from tests.chaos.vitals import Vitals


@pytest.mark.timeout(300)
def test_flat() -> None:
    """Containers that come and go leave the daemon with the memory, descriptors, threads, mounts and files it had."""
    seen = [now for _, now, _ in soak(cycles=60, every=20)]
    assert grown(seen[0], seen[-1]) == [], seen


def test_growth_is_noticed() -> None:
    """Whatever grows is named."""
    one = Vitals(resident=1000, descriptors=10, threads=5, mounts=0, leases=0, files=3)
    assert grown(one, one) == []
    assert grown(one, replace(one, resident=1001 + MORE_KIB)) == ["resident memory: 1000 -> 9193 KiB"]
    for name in ("descriptors", "threads", "mounts", "leases", "files"):
        assert grown(one, replace(one, **{name: getattr(one, name) + 5})), name
