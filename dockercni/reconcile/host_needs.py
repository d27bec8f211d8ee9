"""What an attachment needs of the host's links, addresses, routes and settings, by its record. Pure.

That is what its plugin has set up there, in this process or as an executable, and nothing more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final, Protocol

from dockercni.cni import CacheEntry, CNIError, Interface, IPConfig, NetworkList, Result, parse_list
from dockercni.cni.strict_json import Fields, lookup
from dockercni.linux import routing
from dockercni.linux.links import Link
from dockercni.model import IPAddress, IPNetwork
from dockercni.plugins import addresses, bridge_conf
from dockercni.plugins.addresses import Prefixed
from dockercni.plugins.bridge_conf import BridgeConf
from dockercni.reconcile import claims, records

_TELLING: Final = frozenset(
    {"host-local", "static", "dhcp"}
)  # IPAM plugins whose configuration says which families they give
_ON_A_PARENT: Final = frozenset({"macvlan", "ipvlan", "vlan"})


class ObservedHost(Protocol):
    """The host as it was observed; see host_half."""

    def link(self, name: str) -> Link | None:
        """The link of that name."""

    def addresses(self, link: Link) -> frozenset[Prefixed]:
        """The addresses of a link."""

    def leads(self, link: Link, destination: IPNetwork) -> bool:
        """Whether there is a route to just that over a link, in whichever table."""

    def setting(self, name: str) -> str:
        """A setting below /proc/sys; "" if there is none."""


@dataclass(frozen=True, slots=True)
class Needs:
    """The host's half of one attachment.

    `port` is the host's end of its link. With a `bridge` it is a port of that, and `mac` is the one that it had.
    `gateways` are addresses of the link called `bearer`, over which the container is reached, `targets` those of the
    container that need a route over it. `forwarding` has the IP versions, `localnet` says that the host's loopback
    leads to published ports. `parent` is the link that one in the container sits on.
    """

    port: Interface | None = None
    bridge: BridgeConf | None = None
    mac: str = ""
    bearer: str = ""
    gateways: tuple[Prefixed, ...] = ()
    targets: tuple[IPAddress, ...] = ()
    forwarding: tuple[int, ...] = ()
    localnet: bool = False
    parent: str = ""

    @property
    def routes(self) -> tuple[IPNetwork, ...]:
        """The destinations to which the host needs a route over the bearer."""
        subnets = [gateway.network for gateway in self.gateways if gateway.network.num_addresses > 1]
        return (*subnets, *map(ip_network, self.targets))

    @property
    def names(self) -> frozenset[str]:
        """The links of the host that it is about."""
        links = {
            self.bearer,
            self.parent,
            self.port.name if self.port else "",
            self.bridge.bridge if self.bridge else "",
        }
        return frozenset(links - {""})


def needs(entry: CacheEntry) -> Needs:
    """What a recorded attachment needs; nothing if an unknown plugin made it."""
    try:
        plugins = parse_list(entry.config).plugins
        result = entry.attached
        first = Fields(plugins[0].raw)
        mine = [ip for ip in result.ips if ip.address in result.addresses_of(entry.ifname)]
        localnet = any(ip.address.version == 4 for ip in mine) and any(
            plugin.type == "portmap"
            and "portMappings" in plugin.capabilities
            and entry.capability_args.get("portMappings")
            and Fields(plugin.raw).get("snat") is not False
            for plugin in plugins
        )
        match plugins[0].type:
            case "bridge":
                return _of_bridge(bridge_conf.of(first), result, mine, localnet=localnet)
            case "ptp":
                return _of_ptp(result, mine, localnet=localnet)
            case kind if kind in _ON_A_PARENT:
                return Needs(parent=_parent(entry, first))
    except CNIError:  # a damaged record is reported elsewhere
        pass
    return Needs()


def parent_unknown(entry: CacheEntry) -> bool:
    """Whether an attachment has a parent on the host that neither its configuration nor its record names."""
    try:
        plugin = parse_list(entry.config).plugins[0]
        return plugin.type in _ON_A_PARENT and not _is_inside(plugin.raw) and not needs(entry).parent
    except CNIError:
        return False


def may_route_ipv6(network: NetworkList, requested: Iterable[IPAddress]) -> bool:
    """Whether an ADD may switch forwarding of IPv6 on; True also if the configuration does not say."""
    if any(address.version == 6 for address in requested):
        return True
    for plugin in network.plugins:
        if plugin.type not in records.PREDICTABLE:
            return True
        gateway = plugin.type == "ptp" or any(lookup(plugin.raw, key) for key in ("isGateway", "isDefaultGateway"))
        ipam = lookup(plugin.raw, "ipam")
        if gateway and isinstance(ipam, dict):
            subnets = claims.within(ipam)
            if ipam.get("type") not in _TELLING or any(subnet.version == 6 for subnet in subnets):
                return True
    return False


def lacking(needs: Needs, host: ObservedHost) -> Iterator[str]:
    """What of it is missing, in words. Nothing without its port: then the container's link is gone too."""
    port = find_port(needs, host)
    if port is None:
        return
    if needs.bridge:
        yield from _lacking_of_bridge(needs.bridge, port, host.link(needs.bridge.bridge))
    if not port.up:
        yield f"{port.name} up"
    yield from _lacking_at_bearer(needs, host)
    yield from (f"forwarding of IPv{version}" for version in needs.forwarding if _off(host, routing.SETTINGS[version]))


def unusable(needs: Needs, host: ObservedHost) -> Iterator[str]:
    """What is wrong and only the administrator can repair."""
    if needs.parent:
        parent = host.link(needs.parent)
        if parent is None:
            yield f"its parent {needs.parent} is gone"
        elif not parent.up:
            yield f"its parent {needs.parent} is down"


def find_port(needs: Needs, host: ObservedHost) -> Link | None:
    """The host's end of the attachment's link; None if it is gone, or another link has its name."""
    link = host.link(needs.port.name) if needs.port else None
    same = link and needs.port and (not needs.port.mac or link.mac == needs.port.mac.lower())
    return link if same else None


def _lacking_of_bridge(conf: BridgeConf, port: Link, bridge: Link | None) -> Iterator[str]:
    if bridge is None:
        yield f"bridge {conf.bridge}"
    elif not bridge.up:
        yield f"{bridge.name} up"
    if bridge and conf.promiscuous and not bridge.promiscuous:
        yield f"promiscuous mode of {bridge.name}"
    if bridge is None or port.master != bridge.index:
        yield f"port {port.name} on {conf.bridge}"
    elif port.operational and not port.forwarding and not bridge.spanning:
        yield f"forwarding by {port.name}"
    if conf.hairpin and not port.hairpin:
        yield f"hairpin mode of {port.name}"
    if conf.isolated and not port.isolated:
        yield f"isolation of {port.name}"


def _lacking_at_bearer(needs: Needs, host: ObservedHost) -> Iterator[str]:
    bearer = host.link(needs.bearer)
    present = host.addresses(bearer) if bearer else frozenset()
    yield from (f"{address} on {needs.bearer}" for address in needs.gateways if address not in present)
    if bearer is None:
        return
    if bearer.up:  # going down removed the routes, going up brings them back
        lacking = (each for each in needs.routes if not host.leads(bearer, each))
        yield from (f"route {words(each)} over {bearer.name}" for each in lacking)
    if 4 in needs.forwarding and _off(host, f"net/ipv4/conf/{bearer.name}/forwarding"):
        yield f"forwarding of IPv4 on {bearer.name}"
    if needs.localnet and all(_off(host, f"net/ipv4/conf/{name}/route_localnet") for name in ("all", bearer.name)):
        yield f"route_localnet of {bearer.name}"


def words(destination: IPNetwork) -> str:
    """A route's destination as people write it."""
    alone = destination.num_addresses == 1
    return str(destination.network_address if alone else destination)


def _parent(entry: CacheEntry, conf: Fields) -> str:
    return "" if _is_inside(conf.values) else conf.string("master") or (entry.owner or {}).get(records.PARENT, "")


def _is_inside(conf: Mapping[str, Any]) -> bool:
    """Whether the parent is a link of the container, which is the container's."""
    return lookup(conf, "linkInContainer") is True


def _off(host: ObservedHost, setting: str) -> bool:
    return host.setting(setting) == "0"


def _of_bridge(conf: BridgeConf, result: Result, mine: list[IPConfig], *, localnet: bool) -> Needs:
    outside = [link for link in result.interfaces if not link.sandbox]
    if len(outside) < 2:  # a lost record, or a result from before 0.3.0
        return Needs()
    pairs = [(ip.gateway, ip.address) for ip in mine if conf.gateway and ip.gateway]
    return Needs(
        port=outside[1],
        bridge=conf,
        mac=outside[0].mac.lower() if conf.gateway else "",
        bearer=f"{conf.bridge}.{conf.vlan}" if conf.vlan and conf.gateway else conf.bridge,
        gateways=tuple(addresses.with_prefix(gateway, address.network.prefixlen) for gateway, address in pairs),
        forwarding=tuple(sorted({address.version for _, address in pairs})),
        localnet=localnet,
    )


def _of_ptp(result: Result, mine: list[IPConfig], *, localnet: bool) -> Needs:
    outside = [link for link in result.interfaces if not link.sandbox]
    if not outside:
        return Needs()
    gateways = [ip.gateway for ip in mine if ip.gateway]
    return Needs(
        port=outside[0],
        bearer=outside[0].name,
        gateways=tuple(addresses.with_prefix(gateway, gateway.max_prefixlen) for gateway in gateways),
        targets=tuple(ip.address.ip for ip in mine),
        forwarding=tuple(sorted({ip.address.version for ip in mine})),
        localnet=localnet,
    )
