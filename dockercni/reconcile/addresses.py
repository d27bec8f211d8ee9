"""Addresses that were asked for, and who has them already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dockercni.cni import CacheEntry
from dockercni.errors import DockercniError
from dockercni.model import IPAddress
from dockercni.reconcile import records


class AddressTaken(DockercniError):
    """Another container of the network has the address; an IPAM plugin could only say that it is not available."""

    retry = True


def refuse_taken(wanted: Sequence[IPAddress], network: str, others: Iterable[CacheEntry]) -> None:
    """Raise AddressTaken if one of `others` on the same network was given an address that is wanted."""
    for entry in others if wanted else ():
        if entry.network != network:
            continue
        for ip in records.given(entry).ips:
            if ip.address.ip in wanted:
                name = (entry.owner or {}).get(records.NAME, "") or entry.container_id[:12]
                raise AddressTaken(f"address {ip.address.ip} is taken by container {name}")
