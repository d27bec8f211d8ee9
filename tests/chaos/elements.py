"""The elements of the nftables table that the in-process plugins make for what is attached: exactly these."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.chaos.rules import Attached, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.hosts import Host

TABLE = "table inet dockercni"  # stays, as the plugins' own shared chains do


def expected(attached: Sequence[Attached]) -> Iterator[Rule]:
    """Every element that has to be there."""
    for one in attached:
        owner = f"({one.id} {one.ifname} {one.network.name})"
        if not one.by_executable(0):
            yield TABLE, f"leaving-{one.network.subnet} {one.address} {owner}"
        if one.ports and not one.by_executable(1):
            yield TABLE, f"returning-{one.network.subnet} {one.address} {owner}"
            for port in one.ports:
                yield TABLE, f"ports4 tcp . {port} -> {one.address} . {one.inner} {owner}"


def found(host: Host) -> Iterator[Rule]:
    """Every element that is there."""
    listed = host.run("nft", "--json", "list", "table", "inet", "dockercni", check=False).stdout
    for item in json.loads(listed)["nftables"] if listed else ():
        for kind in ("map", "set"):
            for element in item.get(kind, {}).get("elem", ()):
                key, *data = element if kind == "map" else (element,)
                whose = f" ({key['elem'].get('comment', '')})" if isinstance(key, dict) and "elem" in key else ""
                yield TABLE, f"{item[kind]['name']} {' -> '.join(map(_flat, (key, *data)))}{whose}"


def _flat(value: Any) -> str:
    match value:
        case {"elem": {"val": inner}}:
            return _flat(inner)
        case {"concat": parts}:
            return " . ".join(map(_flat, parts))
    return str(value)
