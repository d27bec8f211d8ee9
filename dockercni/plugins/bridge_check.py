"""CHECK of the bridge plugin: the kernel's links, addresses and routes against prevResult."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockercni.cni.result import Interface
from dockercni.linux import addr, links
from dockercni.plugins.contract import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dockercni.cni.result import IPConfig, Result, Route
    from dockercni.linux.links import Link
    from dockercni.linux.netlink import Netlink
    from dockercni.plugins.bridge_conf import BridgeConf
    from dockercni.plugins.contract import Request


def check(request: Request, conf: BridgeConf, previous: Result, host: Netlink, container: Netlink) -> None:
    """Raise PluginFailure for the first thing that is not as `previous` says."""
    listed = previous.interfaces
    bridge = _bridge(host, next((each for each in listed if each.name == conf.bridge), None), conf)
    own = [each for each in listed if each.name == request.ifname and each.sandbox == request.netns]
    inner = _inner(container, own[-1] if own else None, request.netns)
    others = (each for each in listed if each.name not in {conf.bridge, request.ifname})
    if not any(_is_port(host, each, bridge, inner) for each in others):
        raise PluginFailure(f"CNI veth created for bridge {conf.bridge} was not found")
    _check_addresses(container, inner, previous.ips)
    _check_routes(container, previous.routes)


def _bridge(host: Netlink, expected: Interface | None, conf: BridgeConf) -> Link:
    link = _find(host, expected)
    if expected and expected.sandbox:
        raise PluginFailure(f"Interface {link.name} should not be in sandbox")
    if link.kind != "bridge":
        raise PluginFailure(f"Interface {link.name} does not have link type of bridge")
    if expected and expected.mac and expected.mac != link.mac:
        raise PluginFailure(f"Bridge interface {link.name} Mac doesn't match: {expected.mac}")
    if link.promiscuous != conf.promiscuous:
        wanted, actual = str(conf.promiscuous).lower(), str(link.promiscuous).lower()
        problem = f"configured Promisc Mode {wanted} doesn't match current state: {actual} "
        raise PluginFailure(f"Bridge interface {link.name} {problem}")
    return link


def _inner(container: Netlink, expected: Interface | None, netns: str) -> Link:
    if expected is None:
        raise PluginFailure(f"Sandbox in prevResult  doesn't match configured netns: {netns}")
    link = _find(container, expected)
    if link.kind != "veth":
        raise PluginFailure(f"Error: Container interface {link.name} not of type veth")
    if expected.mac and expected.mac != link.mac:
        raise PluginFailure(f"Interface {link.name} Mac {expected.mac} doesn't match container Mac: {link.mac}")
    return link


def _is_port(host: Netlink, expected: Interface, bridge: Link, inner: Link) -> bool:
    link = _find(host, expected)
    if expected.sandbox:
        raise PluginFailure(f"Interface {link.name} should not be in sandbox")
    if link.kind != "veth" or (link.index, link.peer, link.master) != (inner.peer, inner.index, bridge.index):
        return False
    if expected.mac and expected.mac != link.mac:
        raise PluginFailure(f"Interface {link.name} Mac doesn't match: {expected.mac} not found")
    return True


def _find(where: Netlink, expected: Interface | None) -> Link:
    if expected is None:
        raise PluginFailure("Interface name missing ")
    link = links.find(where, expected.name)
    if link is None:
        raise PluginFailure(f"Interface name {expected.name} not found")
    return link


def _check_addresses(container: Netlink, inner: Link, ips: Iterable[IPConfig]) -> None:
    present = {assigned.address for assigned in addr.addresses(container, inner.index)}
    for ip in ips:
        if ip.address not in present:
            raise PluginFailure(f"Failed to match addr {ip.address} on interface {inner.name}")
        paths = addr.routes(container, ip.address.version)
        if all(path.dst != ip.address.network for path in paths):
            raise PluginFailure(f"Failed to find Gateway {ip.gateway} for interface {ip.interface}")


def _check_routes(container: Netlink, routes: Iterable[Route]) -> None:
    for route in routes:
        wanted = route.dst, route.table or addr.MAIN
        present = addr.routes(container, route.dst.version, every_table=True)
        paths = [path for path in present if (path.dst, path.table) == wanted]
        # the reference does not look at the gateway of a default route
        if not paths or (route.gw and route.dst.prefixlen and all(path.gateway != route.gw for path in paths)):
            raise PluginFailure(f"Expected Route {{{route.dst} {route.gw}}} not found in routing table")
