"""host-local's leases of live attachments: detected when their files were deleted, and repaired.

Without the file host-local gives the address to the next container, while this one still has it. The store decides who
has an address, as a DHCP server does: if it names another container now, this attachment has lost the address.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Final

from dockercni.cni import CacheEntry, CNIError, NetworkList, parse_list
from dockercni.cni.strict_json import DocumentError, Fields
from dockercni.files import read_regular
from dockercni.model import IPAddress, IPNetwork
from dockercni.plugins import leases
from dockercni.reconcile import claims
from dockercni.reconcile.dhcp_leases import LeaseLost

_TYPE: Final = "host-local"
_RANGES: Final = {"subnet", "ranges"}
_MAX_LEASE: Final = 4096  # bytes of a lease


def missing(entries: Sequence[CacheEntry]) -> dict[str, list[str]]:
    """For each interface name the leases that are not there, in words. A file that cannot be read is not missing."""
    found: dict[str, list[str]] = {}
    for entry in entries:
        for directory, addresses in _given(entry):
            store = leases.directory(directory, entry.network)
            for address in addresses:
                if reason := _why_missing(store, str(address), entry):
                    found.setdefault(entry.ifname, []).append(reason)
    return found


def repair(entry: CacheEntry) -> None:
    """Write its leases again. Raises LeaseLost for an address that another container has, CNIError, OSError."""
    for directory, addresses in _given(entry):
        with leases.locked(directory, entry.network) as store:
            for address in addresses:
                if owner := store.restore(address, entry.container_id, entry.ifname):
                    raise LeaseLost(f"host-local has given {address} to {_short(owner)}")


def directories(network: NetworkList, *, of_any_ipam: bool = False) -> Iterator[str]:
    """Where host-local keeps the leases of `network`; with `of_any_ipam` also where another IPAM plugin may call it."""
    for plugin in network.plugins:
        with suppress(DocumentError):  # the plugin refuses it at ADD
            ipam = Fields(plugin.raw).object("ipam")
            if ipam.string("type") == _TYPE or (of_any_ipam and ipam.values):
                yield leases.directory(ipam.string("dataDir"), network.name)


def _given(entry: CacheEntry) -> Iterator[tuple[str, list[IPAddress]]]:
    """The `dataDir` of each store that has leases of an attachment, with the addresses that it gave."""
    try:
        stores = _stores(entry.config)
        mine = [address.ip for address in entry.attached.addresses_of(entry.ifname)] if stores else []
    except CNIError:  # a damaged record is reported elsewhere
        return
    for directory, subnets in stores:
        yield directory, [address for address in mine if any(address in subnet for subnet in subnets)]


@lru_cache(maxsize=64)  # asked for each container of a network in a row
def _stores(config: bytes) -> list[tuple[str, list[IPNetwork]]]:
    found = []
    for plugin in parse_list(config).plugins:
        ipam = Fields(plugin.raw).object("ipam")
        if ipam.string("type") == _TYPE:
            ranges = {key: value for key, value in ipam.values.items() if key.lower() in _RANGES}
            found.append((ipam.string("dataDir"), claims.within(ranges)))
    return found


def _why_missing(store: str, name: str, entry: CacheEntry) -> str:
    try:
        owner = read_regular(f"{store}/{name}", _MAX_LEASE).decode("latin-1").strip()
    except FileNotFoundError:
        return f"the lease of {name} in {store}"
    except (OSError, ValueError):
        return ""
    ours = owner in {entry.container_id, f"{entry.container_id}\r\n{entry.ifname}"}
    return "" if ours else f"the lease of {name} in {store}, which is {_short(owner)}'s"


def _short(owner: str) -> str:
    container_id, _, ifname = owner.partition("\r\n")
    return f"{container_id[:12] or 'nobody'} {ifname}".strip()
