"""The bridge plugin: a veth pair between the container and a bridge of the host.

Deviations from the reference: masquerading is an element of our own nftables table, taken back also when the namespace
is gone; a default route without a gateway does not collide with isDefaultGateway; a bridge that lost its MAC gets one;
CHECK of a layer 2 network works; GC removes what belongs to no valid attachment; an IPAM plugin that needs the link is
called while the port forwards, and at DEL before the link is removed; without `mtu` the link gets that of the bridge.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from dockercni.cni import versions
from dockercni.cni.errors import CNIError
from dockercni.cni.result import DNS, Interface, Result, Route
from dockercni.cni.strict_json import lookup
from dockercni.linux import addr, links, nft, routing
from dockercni.linux.links import End, Link
from dockercni.linux.netlink import Netlink, NetlinkError
from dockercni.linux.netns import Namespace, NamespaceGone, NetnsHandle
from dockercni.linux.nft import NftablesError
from dockercni.plugins import (
    bridge_check,
    bridge_conf,
    bridge_ports,
    container_side,
    ipam,
    keys,
    layout,
    ruleset,
    spoof_check,
)
from dockercni.plugins.contract import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dockercni.cni.result import IPConfig
    from dockercni.cni.strict_json import Fields
    from dockercni.linux.nft_elements import Element
    from dockercni.plugins.bridge_conf import BridgeConf
    from dockercni.plugins.contract import Request
    from dockercni.plugins.ruleset import Owner


@dataclass(frozen=True, slots=True)
class _Attached:
    """What the IPAM plugin gave, completed, and the interfaces that not every attachment has."""

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[IPConfig, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: DNS = field(default_factory=DNS)


_CONTAINER = 2  # the position of the container's link among the interfaces of the result


def unsupported(conf: Mapping[str, Any]) -> str:
    """See Plugin."""
    if reason := keys.unknown(conf, bridge_conf.KEYS):  # ipMasqBackend asks for a table that is not ours
        return reason
    needs_library = any(lookup(conf, key) is True for key in ("ipMasq", "macspoofchk"))
    return keys.NO_LIBRARY if needs_library and not nft.available() else ""


def validate(request: Request) -> None:
    """See Plugin."""
    bridge_conf.check_exclusions(bridge_conf.read(request))


def add(request: Request) -> Result:
    """See Plugin."""
    conf = bridge_conf.read(request)
    bridge_conf.check_exclusions(conf)
    with Netlink() as host:
        bridge = bridge_ports.ensure_bridge(host, conf)
        with _open(request.netns) as namespace, namespace.handle() as container:
            # frames larger than the bridge's MTU (that of a tunnel, say) would be dropped silently
            inner = End(request.ifname, mac=conf.mac, mtu=conf.mtu or bridge.mtu, netns=namespace.fd)
            port = bridge_ports.add_port(host, bridge, inner, conf, conf.trunk)
            bridge_ports.set_flags(host, port, conf)
            link = links.find(container.netlink, request.ifname)
            if link is None:
                raise PluginFailure(f'failed to lookup "{request.ifname}": Link not found')
            if conf.spoof_check:
                spoof_check.add(port, link.mac, request.container_id, request.ifname)
            try:
                done = _attach(request, conf, host, container, bridge, link, port)
                return _finish(request, conf, host, done, port, link)
            except (CNIError, OSError, NftablesError) as error:
                _give_up(request, conf)
                if isinstance(error, NftablesError):
                    raise PluginFailure(str(error)) from error
                raise


def check(request: Request) -> None:
    """See Plugin."""
    conf = bridge_conf.read(request)
    with _open(request.netns) as namespace, namespace.handle() as container, Netlink() as host:
        if conf.ipam:
            ipam.check(request)
        previous = request.previous
        if previous is None:
            raise PluginFailure("Required prevResult missing")
        bridge_check.check(request, conf, previous, host, container.netlink)
    if conf.masquerade and (gone := ruleset.missing(elements(ruleset.owner(request), request.fields, previous))):
        raise PluginFailure(f"masquerading is missing: {layout.describe(gone[0])}")


def delete(request: Request) -> None:
    """See Plugin."""
    conf = bridge_conf.read(request)
    failure = _give_back_over(request) if ipam.needs_link(conf.ipam) else None
    seen = _delete_link(request)
    if conf.masquerade and conf.ipam:
        _stop_masquerading(request, seen)
    if conf.spoof_check:
        spoof_check.remove(request.container_id, request.ifname)
    if failure:
        raise failure
    if conf.ipam and not ipam.needs_link(conf.ipam):  # not earlier: the link answers for its address until it is gone
        ipam.delete(request)


def status(request: Request) -> None:
    """See Plugin."""
    validate(request)
    if ipam.kind(request):
        ipam.status(request)


def gc(request: Request) -> None:
    """See Plugin."""
    ruleset.remove_stale(ruleset.SOURCES, ruleset.invalid(request))
    if ipam.kind(request):
        ipam.gc(request)


def elements(owner: Owner, fields: Fields, attached: Result) -> list[Element]:
    """The elements of our nftables table for an attachment with that result: one for each address."""
    if not fields.boolean("ipMasq") or not fields.object("ipam").string("type"):
        return []
    return [ruleset.source(address, owner) for address in attached.addresses_of(owner.ifname)]


def _attach(
    request: Request, conf: BridgeConf, host: Netlink, container: NetnsHandle, bridge: Link, link: Link, port: str
) -> _Attached:
    """Configure the new link; returns addresses and routes, and the gateway's link if that is in a VLAN."""
    if not conf.ipam:
        if not conf.disable_container_interface:
            container.netlink.do(links.set_flags(link.index, on=links.UP))
        return _Attached()
    container_side.prepare(container, request.ifname, dad=conf.dad)
    if ipam.needs_link(conf.ipam):
        # A DHCP request that is sent while the link is down is lost, and the next one comes only seconds later.
        container.netlink.do(links.set_flags(link.index, on=links.UP))
        bridge_ports.await_forwarding(host, port)
    given = ipam.add(request)
    if not given.ips:
        raise PluginFailure("IPAM plugin returned missing IP config")
    ips, routes = with_gateways(given.ips, given.routes, conf)
    container_side.configure(container, link.index, request.ifname, ips, routes)
    more = _serve_as_gateway(host, conf, bridge, ips) if conf.gateway else ()
    if conf.masquerade:
        ruleset.add(_sources(request, [ip.address for ip in ips]))
    return _Attached(more, ips, routes, given.dns)


def with_gateways(
    ips: Iterable[IPConfig], routes: Sequence[Route], conf: BridgeConf
) -> tuple[tuple[IPConfig, ...], tuple[Route, ...]]:
    """Complete the addresses with their gateways, and the routes with the default routes that are missing.

    A default route without a gateway counts as present, because it will use the first gateway.
    """
    completed, found = [], list(routes)
    for ip in ips:
        gateway = ip.gateway or (ip.address.network.network_address + 1 if conf.gateway else None)
        completed.append(replace(ip, gateway=gateway, interface=_CONTAINER))
        default = ip_network("0.0.0.0/0" if ip.address.version == 4 else "::/0")
        if conf.default_gateway and all(route.dst != default for route in found):
            found.append(Route(default, gateway))
    return tuple(completed), tuple(found)


def _serve_as_gateway(host: Netlink, conf: BridgeConf, bridge: Link, ips: Sequence[IPConfig]) -> tuple[Interface, ...]:
    """Give the bridge the gateways' addresses, and enable forwarding; returns the link in the VLAN, if there is one."""
    where = bridge_ports.ensure_vlan_gateway(host, bridge, conf) if conf.vlan else bridge
    what = "vlan interface for bridge with addr" if conf.vlan else "bridge addr"
    for version in (4, 6):
        gateways = [(ip.gateway, ip.address) for ip in ips if ip.gateway and ip.address.version == version]
        for gateway, address in gateways:
            try:
                own = type(address)((gateway, address.network.prefixlen))
                bridge_ports.ensure_address(host, where, own, force=conf.force_address)
            except (PluginFailure, NetlinkError) as error:
                raise PluginFailure(f"failed to set {what}: {error}") from error
        if gateways:
            try:
                routing.forward(version)
            except OSError as error:
                raise PluginFailure(f"failed to enable forwarding: {error}") from error
    return (Interface(where.name, mac=where.mac),) if conf.vlan else ()


def _finish(request: Request, conf: BridgeConf, host: Netlink, done: _Attached, port: str, link: Link) -> Result:
    """Wait for the port, and complete the result: final MACs, and the network's DNS settings rather than IPAM's."""
    if conf.disable_container_interface:
        outer = links.find(host, port)
    else:
        outer = bridge_ports.await_operational(host, port)
        host.try_all([addr.remove_multicast_route(outer.index)])  # see bridge_ports.add_port
    bridge = links.find(host, conf.bridge)
    if outer is None or bridge is None:
        raise PluginFailure(f'could not lookup "{conf.bridge if outer else port}": Link not found')
    own = Interface(request.ifname, mac=link.mac, sandbox=request.netns)
    ends = (Interface(bridge.name, mac=bridge.mac), Interface(port, mac=outer.mac), own)
    dns = conf.dns if conf.dns != type(conf.dns)() else done.dns
    return Result(versions.CURRENT, (*ends, *done.interfaces), done.ips, done.routes, dns)


def _give_up(request: Request, conf: BridgeConf) -> None:
    """Take back, after a failure, what the runtime's DEL might not find."""
    if conf.spoof_check:
        with contextlib.suppress(CNIError):
            spoof_check.remove(request.container_id, request.ifname)
    if conf.ipam:
        with contextlib.suppress(CNIError):
            ipam.delete(request)


def _give_back_over(request: Request) -> CNIError | None:
    """Give the address back while its link exists; returns the error, if any, since the link is removed in any case."""
    try:
        ipam.delete(request)
    except CNIError as error:
        return error
    return None


def _open(path: str) -> Namespace:
    try:
        return Namespace.open(path)
    except OSError as error:
        raise PluginFailure(f'failed to open netns "{path}": {error.strerror}') from error


def _delete_link(request: Request) -> list[addr.Interface]:
    """Remove the container's link; returns the addresses that it had, none if it or its namespace is gone."""
    if not request.netns:
        return []
    try:
        namespace = Namespace.open(request.netns)
    except NamespaceGone:
        return []
    with namespace, namespace.run(Netlink) as container:
        link = links.find(container, request.ifname)
        if link is None:
            return []
        had = [assigned.address for assigned in addr.addresses(container, link.index)]
        links.remove(namespace, container, link.index)
    return [address for address in had if not (address.is_link_local or address.is_multicast or address.is_loopback)]


def _stop_masquerading(request: Request, seen: Sequence[addr.Interface]) -> None:
    """Remove the elements by address (from prevResult or the link), or by owner if no address is known any more."""
    previous = None
    with contextlib.suppress(CNIError):  # a damaged prevResult must not stop DEL
        previous = request.previous
    known = {*seen, *(previous.addresses_of(request.ifname) if previous else ())}
    if known:
        ruleset.remove(_sources(request, known))
    else:
        own = ruleset.owner(request).comment
        ruleset.remove_owned(ruleset.SOURCES, lambda comment: comment == own)


def _sources(request: Request, addresses: Iterable[addr.Interface]) -> list[Element]:
    owner = ruleset.owner(request)
    return [ruleset.source(address, owner) for address in addresses]
