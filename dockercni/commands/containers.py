"""What several commands do with containers: find the one that is named, reconcile many, list foreign records."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import structlog

from dockercni.cni import CacheEntry
from dockercni.errors import DockercniError, UnknownContainer
from dockercni.reconcile import records
from dockercni.reconcile.outcome import NOTE, Outcome, Step
from dockercni.reconcile.reconciler import Reconciler
from dockercni.wiring import App

log = structlog.get_logger()


def resolve(app: App, name: str) -> str:
    """The full id of a container by its name or id; also an id that only the records have.

    Raises UnknownContainer, EngineUnavailable.
    """
    container = app.client.container(name)
    if container:
        return container.id
    if recorded(app, name):
        return name
    raise UnknownContainer(f'there is no container "{name}"')


def recorded(app: App, container_id: str) -> bool:
    """Whether anything is recorded under exactly this id."""
    return any(True for _ in app.attacher.cache.entries(container_id))


def former_backend(backend: str) -> str:
    """The name that a backend had in the version before, for the JSON keys of that version."""
    return "native" if backend == "builtin" else backend


def reconcile_at(
    app: App, reconciler: Reconciler, ids: Sequence[str], *, dry_run: bool, forced: bool = False
) -> list[Outcome]:
    """Reconcile these containers, several at a time; the outcome of one that cannot be reconciled is the error.

    A container whose failure may pass is tried once more: executables that run at the same time get in each other's
    way in the iptables chains that they share.
    """

    def reconcile(container_id: str) -> Outcome:
        try:
            return reconciler.reconcile(container_id, dry_run=dry_run, forced=forced)
        except DockercniError as error:
            problem = str(error)
        except Exception as error:
            log.exception("reconcile failed", id=container_id)  # a defect must not stop the other containers
            problem = f"{type(error).__name__}: {error}"
        return Outcome(container_id, container_id[:12], True, 0, (Step(NOTE, error=problem),))

    with ThreadPoolExecutor(app.settings.workers) as pool:
        first = list(pool.map(reconcile, ids))
        if dry_run:
            return first
        return list(pool.map(lambda one: _after(one, reconcile(one.id)) if one.retry else one, first))


def _after(first: Outcome, second: Outcome) -> Outcome:
    """Both tries as one outcome: the successful steps of the first, and everything of the second."""
    return replace(second, steps=(*(one for one in first.steps if not one.error), *second.steps))


def not_ours(app: App, engine: str) -> list[str]:
    """One line for each file of the cache that dockercni leaves alone: unreadable, or created for someone else."""
    found: list[str] = []
    for entry in app.attacher.cache.entries(broken=lambda error: found.append(str(error))):
        if why := _why_foreign(entry, engine):
            found.append(f"{app.settings.cni_cache_dir / 'results' / entry.file_name}: {why}")  # noqa: PERF401  in the order of the files
    return found


def _why_foreign(entry: CacheEntry, engine: str) -> str:
    if entry.owner is None:
        return "created by another runtime"
    record = records.record(entry)
    if record is None or record.attachment.path or records.is_of(entry.owner, engine):
        return ""
    root = entry.owner.get(records.ROOT, "")
    theirs = entry.owner.get(records.ENGINE, "") + (f", data root {root}" if root else "")
    return f"it belongs to a container of another engine ({theirs})"
