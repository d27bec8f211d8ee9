"""Cache entries that dockercni created, as attachments: what the plan works on, and who may touch them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final, TypedDict

from dockercni.cni import (
    OLDEST,
    Cache,
    CacheEntry,
    CacheError,
    CNIError,
    NetworkList,
    Result,
    Route,
    names,
    parse_list,
)
from dockercni.cni.cache_entry import backends
from dockercni.cni.strict_json import lookup
from dockercni.model import MAIN_TABLE, Attachment, Destination, IPAddress, NetnsId
from dockercni.reconcile import claims, ports
from dockercni.reconcile.history import PastAttachment
from dockercni.reconcile.ports import Place

ENGINE: Final = "engine"
ROOT: Final = "root"  # the engine's data root
BOOT: Final = "boot"
COOKIE: Final = "cookie"
NAME: Final = "name"
UNPUBLISHED: Final = "unpublished"
PARENT: Final = "parent"  # the link that one in the container sits on, where its configuration does not say so
BY: Final = "by"
AD_HOC: Final = "hand"  # `dockercni add CONTAINER`
BY_PATH: Final = "path"  # `dockercni add ID PATH`: the namespace is no container's

# Their result says what the namespace shows. Others (sbr, route-override) move routes that an earlier one reported.
PREDICTABLE: Final = frozenset(
    {"bridge", "ptp", "macvlan", "ipvlan", "vlan", "portmap", "firewall", "bandwidth", "tuning"}
)


@dataclass(frozen=True, slots=True)
class Record:
    """An attachment that dockercni made, and its cache entry."""

    attachment: Attachment
    entry: CacheEntry


def owner(netns_id: NetnsId, engine: str, name: str, by: str = "", unpublished: str = "") -> dict[str, str]:
    """What an entry records about its owner; `engine` is an Engine's mark.

    `unpublished` says why its ports are not published.
    """
    engine_id, _, root = engine.partition("@")
    found = {ENGINE: engine_id, ROOT: root, BOOT: netns_id.boot, COOKIE: netns_id.cookie, NAME: name, BY: by}
    return found | {UNPUBLISHED: unpublished} if unpublished else found


def is_of(owner: Mapping[str, str] | None, engine: str) -> bool:
    """Whether an entry belongs to a container of the engine of that mark. Earlier versions wrote no data root."""
    engine_id, _, root = engine.partition("@")
    theirs = (owner or {}).get(ROOT, "")
    return (owner or {}).get(ENGINE, "") == engine_id and ("" in {root, theirs} or root == theirs)


def places(entry: CacheEntry) -> list[tuple[Place, int]]:
    """The ports of the host that lead to an attachment: of each family in which the container can be reached."""
    return list(ports.places(entry.capability_args, _versions(entry)))


def unpublished(entry: CacheEntry) -> str:
    """Which requested ports do not lead to an attachment, and why; "" if all do."""
    return (entry.owner or {}).get(UNPUBLISHED, "") or ports.unserved(entry.capability_args, _versions(entry))


def _versions(entry: CacheEntry) -> set[int]:
    return {ip.address.version for ip in given(entry).ips}


def record(entry: CacheEntry) -> Record | None:
    """The entry as an attachment; None if another runtime made it, or if it has names that dockercni refuses."""
    if entry.owner is None or not _allowed(entry):
        return None
    by = entry.owner.get(BY, "")
    attachment = Attachment(
        **_shown(entry),
        network=entry.network,
        container_id=entry.container_id,
        ifname=entry.ifname,
        netns_id=NetnsId(entry.owner.get(BOOT, ""), entry.owner.get(COOKIE, "")),
        complete=entry.complete,
        ad_hoc=by == AD_HOC,
        path=entry.netns if by == BY_PATH else "",
    )
    return Record(attachment, entry)


def lost(past: PastAttachment, container_id: str, network: NetworkList, netns: str) -> Record:
    """An attachment that the history proves and whose record is gone: with today's configuration."""
    bridges = [{"name": name} for name in claims.bridges(network)]
    result = {
        "cniVersion": network.cni_version,
        "interfaces": [*bridges, {"name": past.ifname, "sandbox": netns}],
        "ips": [{"address": ip, "interface": len(bridges)} for ip in past.ips],
    }
    entry = CacheEntry(
        network=past.network,
        container_id=container_id,
        ifname=past.ifname,
        netns=netns,
        config=network.raw,
        capability_args=past.capability_args,
        result=result,
        served=backends(past.served),
        owner={},
    )
    return Record(Attachment(past.network, container_id, past.ifname, past.netns_id, complete=False, lost=True), entry)


def records(
    cache: Cache, engine: str, container_id: str = "", broken: Callable[[CacheError], object] = lambda _: None
) -> Iterator[Record]:
    """Our records (of one container) for the engine of that mark, and those of namespaces outside of any container.

    Containers of another engine are left out. `broken` is called for files that cannot be read.
    """
    for entry in cache.entries(container_id, broken):
        if (found := record(entry)) and (found.attachment.path or is_of(entry.owner, engine)):
            yield found


def others(cache: Cache, engine: str) -> set[str]:
    """The ids of the containers that another engine than that of the mark has attached: their pins are not ours."""
    return {
        entry.container_id
        for entry in cache.entries()
        if entry.owner and entry.owner.get(BY) != BY_PATH
        if not is_of(entry.owner, engine)
    }


def given(entry: CacheEntry) -> Result:
    """What ADD gave; an empty result where the record of it is damaged."""
    try:
        return entry.attached
    except CNIError:
        return Result(OLDEST)


def mac(entry: CacheEntry) -> str:
    """The MAC that ADD gave the container's link; "" if the result does not say."""
    inside = (link for link in given(entry).interfaces if link.sandbox and link.name == entry.ifname)
    return next((link.mac.lower() for link in inside), "")


def point_to_point(entry: CacheEntry) -> bool:
    """Whether the container reaches all through its gateway, its own subnet too. Raises CNIError."""
    return parse_list(entry.config).plugins[0].type == "ptp"


def addresses(entry: CacheEntry) -> tuple[str, ...]:
    """The addresses that ADD gave, with their prefixes."""
    return tuple(str(ip.address) for ip in given(entry).ips)


class _Shown(TypedDict, total=False):
    addresses: frozenset[IPAddress]
    routes: frozenset[Destination]
    up: bool


def destination(route: Route) -> Destination:
    """The destination of a route of a result, and its table."""
    return route.dst, route.table or MAIN_TABLE


def _shown(entry: CacheEntry) -> _Shown:
    """What the container has to show, as far as that is known of the plugins that made it.

    IPv6 addresses always are: Docker 20.10 disables IPv6 while a container starts, which removes them.
    """
    try:
        result = entry.attached
        plugins = parse_list(entry.config).plugins
    except CNIError:
        return {}
    addresses = frozenset(address.ip for address in result.addresses_of(entry.ifname))
    if not {plugin.type for plugin in plugins} <= PREDICTABLE:
        return {"addresses": frozenset(address for address in addresses if address.version == 6)}
    versions = {address.version for address in addresses}
    routes = frozenset(destination(route) for route in result.routes if route.dst.version in versions)
    if plugins[0].type == "ptp":
        networks = ((ip_network(ip.gateway), ip.address.network) for ip in result.ips if ip.gateway)
        routes |= {(network, MAIN_TABLE) for pair in networks for network in pair}
    down = any(lookup(plugin.raw, "disableContainerInterface") is True for plugin in plugins)
    return {"addresses": addresses, "routes": routes, "up": not down}


def _allowed(entry: CacheEntry) -> bool:
    """Whether its names are safe as parts of file names."""
    try:
        names.validate_container_id(entry.container_id)
        names.validate_network_name(entry.network)
        names.validate_ifname(entry.ifname)
    except CNIError:
        return False
    return True
