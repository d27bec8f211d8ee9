"""A short chaos run; `make chaos` has the long ones."""

from __future__ import annotations

import pytest

from tests.chaos.plan import Plan, population
from tests.chaos.runner import run

SEEDS = (1,)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_lost_and_nothing_left(seed: int) -> None:
    """Whatever is broken in whatever order, after one sync nothing is lost, and nothing is left."""
    report = run(seed, faults=60, containers=8, longest=75)
    assert not report.failures, f"{report}\n{report.failures[0].story}"
    assert report.faults


def test_seed_is_all() -> None:
    """The same seed makes the same steps, another seed others."""
    one, same, other = (list(Plan(seed, population(20)).rounds(100)) for seed in (1, 1, 2))
    assert one == same
    assert one != other
