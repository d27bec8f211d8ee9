"""`dockercni ps [CONTAINER...]`: list attachments, as recorded."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dockercni import render
from dockercni.cni import CacheError
from dockercni.commands.containers import resolve
from dockercni.commands.table import Request
from dockercni.daemon import Parts, wire
from dockercni.errors import DockercniError
from dockercni.kernel.facts import facts
from dockercni.kernel.namespaces import Namespace
from dockercni.observe import logs
from dockercni.reconcile import ports, records

_HEADERS = ("CONTAINER", "NETWORK", "INTERFACE", "ADDRESSES", "PORTS", "STATE")
_WIDE = (*_HEADERS, "ID", "MAC", "SERVED BY", "NAMESPACE")


def run(request: Request) -> int:
    """List what is attached; asks the engine only for today's names, and does without it.

    JSON keys: attachments [{container, id, network, ifname, addresses, mac, ports, unpublished, netns, state,
    problem, served}].
    """
    logs.configure("warning", "auto")
    parts = wire(request.settings)
    wanted = {resolve(parts, name) for name in request.args.containers}
    names = _names(parts)
    found = [(row, folded) for row, folded in _rows(parts, names) if not wanted or row["id"] in wanted]
    rows = [row for row, _ in found]
    if request.output == "json":
        render.json({"attachments": rows})
        return 0
    if request.output == "name":
        for name in dict.fromkeys(row["container"] or row["id"] for row in rows):
            render.line(name)
        return 0
    width = len(_WIDE if request.output == "wide" else _HEADERS)
    render.table(_WIDE[:width], [_cells(row, folded)[:width] for row, folded in found])
    return 0


def _cells(row: Mapping[str, Any], folded: Sequence[str]) -> tuple[str, ...]:
    state = f"{row['state']} ({row['problem']})" if row["problem"] else row["state"]
    return (
        row["container"],
        row["network"],
        row["ifname"],
        ", ".join(row["addresses"]),
        ", ".join(folded),
        "; ".join(filter(None, (state, row["unpublished"]))),
        row["id"],
        row["mac"],
        ", ".join(row["served"]),
        row["netns"],
    )


def _names(parts: Parts) -> Mapping[str, str]:
    try:
        return {listed.Id: listed.name for listed in parts.client.running()}
    except DockercniError:
        return {}


def _rows(parts: Parts, names: Mapping[str, str]) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """What JSON shows of each attachment; and its ports as tables show them."""
    for entry in parts.attacher.cache.entries():
        if isinstance(entry, CacheError):
            render.error(str(entry))
        elif record := records.record(entry):
            result = records.given(entry)
            state, problem = _state(parts, record)
            inside = [link for link in result.interfaces if link.sandbox and link.name == entry.ifname]
            places = records.places(entry)
            row = {
                "container": names.get(entry.container_id, (entry.owner or {}).get(records.NAME, "")),
                "id": entry.container_id,
                "network": entry.network,
                "ifname": entry.ifname,
                "addresses": [str(ip.address) for ip in result.ips],
                "mac": inside[0].mac if inside else "",
                "ports": ports.shown(places),
                "unpublished": records.unpublished(entry),
                "netns": entry.netns,
                "state": state,
                "problem": problem,
                "served": list(entry.served),
            }
            yield row, ports.shown(places, fold=True)


def _state(parts: Parts, record: records.Record) -> tuple[str, str]:
    """Attached: complete, and its namespace is the one it was made for. Stale: the next look takes it back. Damaged:
    something is missing, which the second text names, and the next look puts it back.
    """
    if not record.attachment.complete:
        return "incomplete", ""
    try:
        with Namespace.open(record.entry.netns) as namespace:
            shown = facts(namespace)
            if parts.sandboxes.life(namespace, shown) != record.attachment.life:
                return "stale", ""
            problem = parts.observation.damage(record, namespace, shown)
    except OSError:
        return "stale", ""
    except DockercniError as error:  # what is missing on the host is not known
        return "attached", str(error)
    return "damaged" if problem else "attached", problem
