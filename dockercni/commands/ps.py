"""`dockercni ps [-a] [CONTAINER...]`: list attachments, as recorded, and what is missing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dockercni import logs, render
from dockercni.commands.containers import former_backend, resolve
from dockercni.commands.missing import EXCLUDED, Missing, missing
from dockercni.commands.table import Invocation
from dockercni.docker.api import Listed
from dockercni.errors import DockercniError
from dockercni.linux.netns import Namespace
from dockercni.linux.netns_state import NetnsState
from dockercni.reconcile import ports, records
from dockercni.wiring import App, wire

_HEADERS = ("CONTAINER", "NETWORK", "INTERFACE", "ADDRESSES", "PORTS", "STATE", "REASON")
_WIDE = (*_HEADERS, "ID", "MAC", "SERVED BY", "NAMESPACE")


def run(invocation: Invocation) -> int:
    """List what is attached and what is missing; without an engine only what is recorded.

    JSON keys: attachments [{container, id, network, ifname, addresses, mac, ports, unpublished, netns, state, problem,
    served, backends}], missing [{container, id, network, ifname, state, reason, since, times, retryIn}], and with --all
    excluded [{container, id, reason}]. `served` has the names that backends had in the version before.
    """
    logs.configure("error", "auto")
    app = wire(invocation.settings)
    wanted = {resolve(app, name) for name in invocation.args.containers}
    running = _running(app)
    found = [(row, folded) for row, folded in _rows(app, running) if not wanted or row["id"] in wanted]
    rows = [row for row, _ in found]
    lacking = _lacking(app, running, rows, wanted, excluded=invocation.args.all)
    if invocation.output == "json":
        _print_json(rows, lacking, excluded=invocation.args.all)
        return 0
    if invocation.output == "name":
        names = [*(row["container"] or row["id"] for row in rows), *(one.container for one in lacking)]
        for name in dict.fromkeys(names):
            render.line(name)
        return 0
    width = len(_WIDE if invocation.output == "wide" else _HEADERS)
    cells = [*(_cells(row, folded) for row, folded in found), *map(_cells_of_missing, lacking)]
    render.table(_WIDE[:width], [row[:width] for row in cells])
    return 0


def _print_json(rows: Sequence[Mapping[str, Any]], lacking: Sequence[Missing], *, excluded: bool) -> None:
    found: dict[str, Any] = {"attachments": rows, "missing": [_shown(one) for one in lacking if one.state != EXCLUDED]}
    if excluded:
        out = [one for one in lacking if one.state == EXCLUDED]
        found["excluded"] = [{"container": one.container, "id": one.id, "reason": one.reason} for one in out]
    render.json(found)


def _shown(one: Missing) -> dict[str, Any]:
    shown = asdict(one)
    retry_in = shown.pop("retry_in")
    return {**shown, "retryIn": None if retry_in is None else round(retry_in, 1)}


def _lacking(
    app: App, running: Sequence[Listed], rows: Sequence[Mapping[str, Any]], wanted: set[str], *, excluded: bool
) -> list[Missing]:
    try:
        return list(missing(app, running, {row["id"] for row in rows}, wanted, excluded=excluded))
    except DockercniError as error:
        render.error(str(error))
        return []


def _cells(row: Mapping[str, Any], folded: Sequence[str]) -> tuple[str, ...]:
    return (
        row["container"],
        row["network"],
        row["ifname"],
        ", ".join(row["addresses"]),
        ", ".join(folded),
        row["state"],
        "; ".join(filter(None, (row["problem"], row["unpublished"]))),
        row["id"],
        row["mac"],
        ", ".join(row["backends"]),
        row["netns"],
    )


def _cells_of_missing(one: Missing) -> tuple[str, ...]:
    return (one.container, one.network, one.ifname, "", "", one.state, one.reason, one.id, "", "", "")


def _running(app: App) -> list[Listed]:
    try:
        return app.client.running()
    except DockercniError:
        return []


def _rows(app: App, running: Sequence[Listed]) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Each attachment as JSON shows it, and its ports as tables show them."""
    names = {listed.Id: listed.name for listed in running}
    for entry in app.attacher.cache.entries(broken=lambda error: render.error(str(error))):
        if record := records.record(entry):
            result = records.given(entry)
            state, problem = _state(app, record)
            places = records.places(entry)
            row = {
                "container": names.get(entry.container_id, (entry.owner or {}).get(records.NAME, "")),
                "id": entry.container_id,
                "network": entry.network,
                "ifname": entry.ifname,
                "addresses": [str(ip.address) for ip in result.ips],
                "mac": records.mac(entry),
                "ports": ports.shown(places),
                "unpublished": records.unpublished(entry),
                "netns": entry.netns,
                "state": state,
                "problem": problem,
                "served": [former_backend(one) for one in entry.served],
                "backends": list(entry.served),
            }
            yield row, ports.shown(places, fold=True)


def _state(app: App, record: records.Record) -> tuple[str, str]:
    """The state of an attachment, and what is missing of it.

    "attached": complete, in the namespace that it was made for; "incomplete": ADD did not finish; "stale": the
    namespace is gone, so sync removes it; "damaged": a part is missing, which sync repairs.
    """
    if not record.attachment.complete:
        return "incomplete", ""
    try:
        with Namespace.open(record.entry.netns) as namespace:
            shown = NetnsState.read(namespace)
            if app.sandboxes.netns_id(namespace, shown) != record.attachment.netns_id:
                return "stale", ""
            problem = app.observation.damage(record, namespace, shown)
    except OSError:
        return "stale", ""
    except DockercniError as error:  # it is not known what is missing on the host
        return "attached", str(error)
    return "damaged" if problem else "attached", problem
