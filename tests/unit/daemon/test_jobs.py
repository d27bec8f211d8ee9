"""The jobs of the work queue."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from dockercni.daemon.jobs import Jobs
from dockercni.errors import Retry


def test_a_reload_in_the_middle_of_a_run() -> None:
    """The reconciler that a run began with serves to its end, whenever other settings take it away."""
    served: list[object] = []
    jobs: Any = object.__new__(Jobs)

    class Thorough(set[str]):
        def discard(self, key: str) -> None:
            jobs.reconciler = None

    def reconcile(reconciler: object, *_: object, **__: object) -> None:
        served.append(reconciler)

    jobs._jobs, jobs._thorough, jobs.reconciler = {}, Thorough(), "the old one"
    jobs.early = SimpleNamespace(tracker=SimpleNamespace(reconcile=reconcile, unconfirmed=lambda _: False))
    assert jobs.run("c" * 64, "start") is Retry.NEVER
    assert served == ["the old one"]
