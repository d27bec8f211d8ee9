"""The jobs of the work queue."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from dockercni.daemon.jobs import FORWARDING, Jobs
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


def test_forwarding_that_was_not_settled() -> None:
    """Rules that could not be changed at the end of a container, whose DEL succeeded, are the next job."""
    added: list[str] = []
    jobs: Any = object.__new__(Jobs)
    jobs._jobs, jobs._thorough, jobs.reconciler = {}, set(), "the reconciler"
    outcome = SimpleNamespace(retry=Retry.NEVER)
    jobs.early = SimpleNamespace(
        tracker=SimpleNamespace(reconcile=lambda *_, **__: outcome, unconfirmed=lambda _: False)
    )
    jobs.reporter = SimpleNamespace(reconciled=lambda _: None)
    jobs.queue = SimpleNamespace(add=lambda key, _: added.append(key))
    jobs._port_holds = SimpleNamespace(update=lambda *_: None)
    jobs.host_watch = SimpleNamespace(learn=lambda *_: None)
    forwarding = SimpleNamespace(unsettled=True)
    cache = SimpleNamespace(entries=lambda _: [])
    jobs.app = SimpleNamespace(attacher=SimpleNamespace(forwarding=forwarding, cache=cache))
    assert jobs.run("c" * 64, "die") is Retry.NEVER
    assert added == [FORWARDING]
    forwarding.unsettled = False
    jobs.run("c" * 64, "die")
    assert added == [FORWARDING]
