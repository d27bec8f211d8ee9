"""Who else has an address or a port that was asked for, and whether the network gives that address at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from dockercni.cni import CacheEntry, CNIError, NetworkList
from dockercni.cni.strict_json import Fields
from dockercni.errors import DockercniError, Retry
from dockercni.linux.netns import Namespace
from dockercni.model import IPAddress
from dockercni.plugins import ranges
from dockercni.reconcile import records
from dockercni.reconcile.ports import Publisher
from dockercni.reconcile.sandbox import lives_in


class AddressTaken(DockercniError):
    """Another container of the network has the address; an IPAM plugin would only say that it is not available."""

    retry = Retry.LATER


class AddressOutside(DockercniError):
    """The network does not give that address to anybody; an IPAM plugin would not say which ones it gives."""

    retry = Retry.NEVER  # until the network's ranges are changed


def refuse_outside(wanted: Sequence[IPAddress], network: NetworkList) -> None:
    """Raise AddressOutside for an address that is in none of the ranges that host-local has for the network."""
    sets = _ranges(network) if wanted else ()
    for address in wanted if sets else ():
        if not any(each.find(address) for each in sets):
            given = " or ".join(map(str, sets))
            raise AddressOutside(f"address {address} is outside of what network {network.name} gives: {given}")


def refuse_taken(wanted: Sequence[IPAddress], network: str, others: Iterable[CacheEntry]) -> None:
    """Raise AddressTaken if one of `others` on the same network was given an address that is wanted."""
    for entry in others if wanted else ():
        if entry.network != network:
            continue
        for ip in records.given(entry).ips:
            if ip.address.ip in wanted:
                name = (entry.owner or {}).get(records.NAME, "") or entry.container_id[:12]
                raise AddressTaken(f"address {ip.address.ip} is taken by container {name}")


def publisher(entry: CacheEntry) -> Publisher:
    """A recorded attachment as one that may publish a port already."""
    name = (entry.owner or {}).get(records.NAME, "") or entry.container_id[:12]
    versions = frozenset(ip.address.version for ip in records.given(entry).ips) if entry.complete else frozenset((4, 6))
    return Publisher(name, entry.capability_args, partial(_alive, entry), versions)


def _alive(entry: CacheEntry) -> bool:
    """Whether processes use an attachment. The path of its namespace may be a pin that outlives the container."""
    owner = entry.owner
    try:
        with Namespace.open(entry.netns) as namespace:
            if owner is None:  # another runtime's, whose containers we do not know
                return bool(namespace.processes())
            return owner.get(records.BY) == records.BY_PATH or lives_in(namespace, entry.container_id)
    except OSError:
        return False


def _ranges(network: NetworkList) -> tuple[ranges.RangeSet, ...]:
    """The ranges of its first plugin's IPAM; none where that is not host-local, or has ranges that it will refuse."""
    try:
        ipam = Fields(network.plugins[0].raw).object("ipam")
        if ipam.string("type") != "host-local":
            return ()
        sets = [[Fields.of(one) for one in each] for each in ipam.array("ranges") if isinstance(each, list)]
        return ranges.read([*([[ipam]] if ipam.string("subnet") else []), *sets])
    except CNIError:
        return ()
