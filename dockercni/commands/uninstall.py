"""`dockercni uninstall [--keep] [--dry-run]`: detach every container and remove what install created."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from dockercni import logs, render
from dockercni.cni import CacheEntry
from dockercni.commands.manual import toml
from dockercni.commands.setup import effects, plan
from dockercni.commands.table import DRIFT, Invocation
from dockercni.daemon.early_watch import remembered_mark
from dockercni.errors import DockercniError, LockHeld
from dockercni.gate import client as gate
from dockercni.linux.nft import NftablesError
from dockercni.reconcile import ad_hoc, orphans, records, shared_state
from dockercni.wiring import App, wire


class NotDetached(DockercniError):
    """Some containers could not be detached; nothing else was removed, so that uninstall can be run again."""


def run(invocation: Invocation) -> int:
    """Print one line for each step, and for each thing that stays because dockercni did not create it."""
    logs.configure("error", "auto")
    settings, args = invocation.settings, invocation.args
    app = wire(settings)
    files = effects.files()
    found = effects.found(files)
    example = toml.example()
    for line in effects.done(plan.stop(found, files), dry_run=args.dry_run):
        render.line(line)
    with contextlib.nullcontext() if args.dry_run else _alone(app):
        if not args.keep:
            _give_back(app, dry_run=args.dry_run)
        if not args.dry_run:
            gate.dismiss(settings.run_dir)
    last = plan.remove(found, example, settings.state_dir, settings.run_dir, keep=args.keep)
    for line in effects.done(last, dry_run=args.dry_run):
        render.line(line)
    return DRIFT if args.dry_run else 0


@contextlib.contextmanager
def _alone(app: App) -> Iterator[None]:
    """Hold the daemon's lock, so that no daemon attaches anything meanwhile. Raises LockHeld."""
    try:
        with app.attacher.locks.daemon():
            yield
    except LockHeld as error:
        raise LockHeld(error.lock, f"{error.holder}; stop it first") from error


def _give_back(app: App, *, dry_run: bool) -> None:
    """Remove every attachment of ours, then what no record explains, then what attachments shared."""
    ours, others = _recorded(app)
    _detach(app, _names(ours), dry_run=dry_run)
    for name in _names(others).values():
        render.line(f"leave the networks of {name}: they belong to another runtime or engine")
    _collect(app, dry_run=dry_run)
    if not dry_run:
        app.settle_forwarding()
    for container_id in app.sandboxes.pins():
        if not dry_run and container_id not in _names(others):
            app.sandboxes.unpin(container_id)
    _remove_leftovers(app, ours if dry_run else [], dry_run=dry_run)


def _detach(app: App, names: Mapping[str, str], *, dry_run: bool) -> None:
    failed = []
    for container_id, name in names.items():
        render.line(f"{'would ' if dry_run else ''}give back the networks of {name}")
        try:
            if not dry_run:
                ad_hoc.delete(app.sandboxes, app.attacher, container_id)
        except DockercniError as error:
            failed.append(f"{name}: {error}")
    if failed:
        raise NotDetached(f"{'; '.join(failed)}; nothing else was removed; run uninstall again, or with --keep")


def _collect(app: App, *, dry_run: bool) -> None:
    for orphan, proven, problem in orphans.collect(app.attacher, dry_run=dry_run):
        if proven:
            what = f"remove {orphan.what}{f' failed: {problem}' if problem else ''}"
            render.line(f"would {what}" if dry_run else what)
        else:
            render.line(f"leave {orphan.what}: not known to be created by dockercni")


def _remove_leftovers(app: App, leaving: Sequence[CacheEntry], *, dry_run: bool) -> None:
    for leftover in shared_state.leftovers(app.attacher.networks.catalogue().networks, leaving):
        if leftover.users:
            render.line(f"leave {leftover.what}: {leftover.users}")
            continue
        try:
            if not dry_run:
                leftover.remove()
        except (OSError, NftablesError) as error:  # another runtime has begun to use it
            render.line(f"leave {leftover.what}: {error}")
        else:
            render.line(f"{'would ' if dry_run else ''}remove {leftover.what}")
    if not dry_run:
        shared_state.remove_directories(app.settings.cni_cache_dir, app.settings.netns_dir)


def _recorded(app: App) -> tuple[list[CacheEntry], list[CacheEntry]]:
    """Our attachments, and those of others: another runtime's, or those of an engine that another daemon serves."""
    engine, known = _engine(app), set(app.history.known())
    ours: list[CacheEntry] = []
    others: list[CacheEntry] = []
    for entry in app.attacher.cache.entries(broken=lambda error: render.line(f"leave a record: {error}")):
        owner = entry.owner or {}
        of_engine = not engine or not owner.get(records.ENGINE) or records.is_of(owner, engine)
        mine = records.record(entry) and (of_engine or entry.container_id in known)  # the engine may have a new id
        (ours if mine else others).append(entry)
    return ours, others


def _engine(app: App) -> str:
    """The mark of our engine, as remembered if the engine does not answer any more; "" if it was never known."""
    try:
        return app.client.engine().mark
    except DockercniError:
        return remembered_mark(app.settings.state_dir)


def _names(entries: Sequence[CacheEntry]) -> dict[str, str]:
    """The ids of the containers of these attachments, with their names."""
    return {entry.container_id: (entry.owner or {}).get(records.NAME, "") or entry.container_id for entry in entries}
