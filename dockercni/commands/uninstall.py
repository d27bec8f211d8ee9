"""`dockercni uninstall [--keep] [--dry-run]`: give back every network, and take away what install made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from dockercni import render
from dockercni.cni import CacheError
from dockercni.commands.manual import toml
from dockercni.commands.setup import effects, plan
from dockercni.commands.sync import DRIFT
from dockercni.commands.table import Request
from dockercni.daemon import Parts, wire
from dockercni.errors import DockercniError, LockHeld
from dockercni.observe import logs
from dockercni.reconcile import hand, records, strays, traces


class NotGivenBack(DockercniError):
    """Some networks could not be given back: everything else stays, so that it can be tried again."""


def run(request: Request) -> int:
    """Print one line for each step."""
    logs.configure("error", "auto")
    settings, args = request.settings, request.args
    parts = wire(settings)
    files = effects.files()
    found = effects.found(files)
    example = toml.example()
    for line in effects.done(plan.stop(found, files), dry_run=args.dry_run):
        render.line(line)
    with contextlib.nullcontext() if args.dry_run else _alone(parts):
        if not args.keep:
            _give_back(parts, dry_run=args.dry_run)
    last = plan.remove(found, example, settings.state_dir, settings.run_dir, keep=args.keep)
    for line in effects.done(last, dry_run=args.dry_run):
        render.line(line)
    return DRIFT if args.dry_run else 0


@contextlib.contextmanager
def _alone(parts: Parts) -> Iterator[None]:
    """No daemon attaches anything meanwhile. Raises LockHeld."""
    try:
        with parts.attacher.locks.daemon():
            yield
    except LockHeld as error:
        raise LockHeld(error.lock, f"{error.holder}: stop it first") from error


def _give_back(parts: Parts, *, dry_run: bool) -> None:
    """Take back every attachment that is provably ours, then what no record explains."""
    failed = []
    for container_id, name in _attached(parts).items():
        render.line(f"{'would give' if dry_run else 'give'} back the networks of {name}")
        if dry_run:
            continue
        try:
            hand.delete(parts.sandboxes, parts.attacher, parts.memory, container_id)
        except DockercniError as error:
            failed.append(f"{name}: {error}")
    if failed:
        raise NotGivenBack(f"{'; '.join(failed)}; nothing else was removed, try again (--keep leaves them)")
    if dry_run:
        return
    for stray, ours, problem in strays.collect(parts.attacher, parts.memory, dry_run=False):
        if ours:
            render.line(f"remove {stray.what}{f' failed: {problem}' if problem else ''}")
    for container_id in list(parts.sandboxes.pins()):
        parts.sandboxes.unpin(container_id)
    networks, settings = parts.attacher.networks.catalogue().networks, parts.settings
    for what in traces.remove(networks, settings.cni_cache_dir, settings.netns_dir):
        render.line(f"remove {what}")


def _attached(parts: Parts) -> dict[str, str]:
    """The containers that have attachments of ours, and what they are called."""
    found = {}
    for entry in parts.attacher.cache.entries():
        if not isinstance(entry, CacheError) and records.record(entry):
            found[entry.container_id] = (entry.owner or {}).get(records.NAME, "") or entry.container_id
    return found
