"""`dockercni check [CONTAINER...]`: CNI CHECK of what is recorded."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from dockercni import render
from dockercni.cni import CacheError, CNIError, VersionError, parse_list
from dockercni.commands.containers import resolve
from dockercni.commands.table import Request
from dockercni.daemon import Parts, wire
from dockercni.errors import DockercniError
from dockercni.observe import logs
from dockercni.reconcile import records
from dockercni.reconcile.records import Record

OK, SKIPPED, FAILED = "ok", "skipped", "failed"
COMPLAINTS = 3


@dataclass(frozen=True, slots=True)
class Checked:
    """What CHECK said of one attachment; `why` is empty where all is well."""

    container: str
    id: str
    network: str
    ifname: str
    verdict: str
    why: str = ""


def run(request: Request) -> int:
    """Check the attachments of the named containers, or all of them.

    JSON keys: checks [{container, id, network, ifname, verdict, why}].
    """
    logs.configure("error", "auto")
    parts = wire(request.settings)
    wanted = {resolve(parts, name) for name in request.args.containers}
    found = [_checked(parts, record) for record in _records(parts) if not wanted or record.entry.container_id in wanted]
    if request.output == "json":
        render.json({"checks": [asdict(one) for one in found]})
    else:
        for one in found:
            words = f"{one.verdict} {one.container} {one.network} {one.ifname}"
            render.line(f"{words}: {one.why}" if one.why else words)
    return COMPLAINTS if any(one.verdict == FAILED for one in found) else 0


def _records(parts: Parts) -> Iterator[Record]:
    for entry in parts.attacher.cache.entries():
        if isinstance(entry, CacheError):
            render.error(str(entry))
        elif found := records.record(entry):
            yield found


def _checked(parts: Parts, record: Record) -> Checked:
    verdict, why = _verdict(parts, record)
    entry = record.entry
    name = (entry.owner or {}).get(records.NAME, "") or entry.container_id[:12]
    return Checked(name, entry.container_id, entry.network, entry.ifname, verdict, why)


def _verdict(parts: Parts, record: Record) -> tuple[str, str]:
    """Under the container's lock, so that no ADD or DEL is under way; what is gone by then is no complaint."""
    key = record.attachment.key
    attacher = parts.attacher
    try:
        with attacher.locks.container(record.entry.container_id) as lock, attacher.locks.host():
            entry = attacher.cache.read(*key)
            current = records.record(entry) if entry else None
            if entry is None or current is None:
                return SKIPPED, "it was taken back meanwhile"
            if not current.attachment.complete:
                return FAILED, "its ADD was not finished"
            if parts.sandboxes.life_at(entry.netns) != current.attachment.life:
                return FAILED, "its network namespace is gone"
            if parse_list(entry.config).disable_check:
                return SKIPPED, "its configuration has disableCheck"
            attacher.runtime.check(entry, inherit=(lock,))
    except VersionError as error:
        return SKIPPED, f"{error} (it came with 0.4.0)"
    except (CNIError, DockercniError) as error:
        return FAILED, str(error)
    return OK, ""
