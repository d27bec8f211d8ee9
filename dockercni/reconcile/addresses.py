"""Addresses that were asked for: whether the network has them, and who has them already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dockercni.cni import CacheEntry, CNIError, NetworkList
from dockercni.cni.strict_json import Fields
from dockercni.errors import DockercniError, Retry
from dockercni.model import IPAddress
from dockercni.plugins import ranges
from dockercni.reconcile import records


class AddressTaken(DockercniError):
    """Another container of the network has the address; an IPAM plugin could only say that it is not available."""

    retry = Retry.LATER


class AddressOutside(DockercniError):
    """The network does not give that address to anybody; an IPAM plugin does not say which ones it gives."""

    retry = Retry.NEVER  # until its ranges are corrected may be corrected


def refuse_outside(wanted: Sequence[IPAddress], network: NetworkList) -> None:
    """Raise AddressOutside for an address that is in none of the ranges that host-local has for the network."""
    sets = _ranges(network) if wanted else ()
    for address in wanted if sets else ():
        if not any(each.find(address) for each in sets):
            given = " or ".join(map(str, sets))
            raise AddressOutside(f"address {address} is outside of what network {network.name} gives: {given}")


def _ranges(network: NetworkList) -> tuple[ranges.RangeSet, ...]:
    """Those of its first plugin's IPAM; none where that is no host-local, or one that will complain of them itself."""
    try:
        ipam = Fields(network.plugins[0].raw).object("ipam")
        if ipam.string("type") != "host-local":
            return ()
        sets = [[Fields.of(one) for one in each] for each in ipam.array("ranges") if isinstance(each, list)]
        return ranges.read([*([[ipam]] if ipam.string("subnet") else []), *sets])
    except CNIError:
        return ()


def refuse_taken(wanted: Sequence[IPAddress], network: str, others: Iterable[CacheEntry]) -> None:
    """Raise AddressTaken if one of `others` on the same network was given an address that is wanted."""
    for entry in others if wanted else ():
        if entry.network != network:
            continue
        for ip in records.given(entry).ips:
            if ip.address.ip in wanted:
                name = (entry.owner or {}).get(records.NAME, "") or entry.container_id[:12]
                raise AddressTaken(f"address {ip.address.ip} is taken by container {name}")
