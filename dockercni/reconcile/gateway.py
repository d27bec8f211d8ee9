"""Which of a container's networks has its default route: one for each IP version, the first that has one to give. Pure.

The other networks are attached with a configuration that has no default route, so that none exists even for a moment.
The record has the same configuration, and so have DEL, CHECK and repair. If a plugin makes a default route all the same
(from a DHCP server's router, or because it is an unknown plugin), that is undone before the attachment counts as
complete: see `default_route`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from dockercni.cni import NetworkList, Result, parse_list, strict_json
from dockercni.errors import LabelError
from dockercni.model import NetworkRequest
from dockercni.reconcile import claims
from dockercni.reconcile.labels import PREFIX
from dockercni.reconcile.records import PREDICTABLE

LABEL: Final = f"{PREFIX}gateway"
_BOTH: Final = frozenset({4, 6})
_DEFAULT: Final = {4: "0.0.0.0/0", 6: "::/0"}
_MAIN: Final = (None, 0, 254)
_STATED: Final = {"host-local", "static"}  # IPAM plugins that give the routes of their configuration and no others
_KNOWN: Final = PREDICTABLE | {"host-device", "loopback", "dummy", "tap", "sbr", "vrf"}
_MOVING: Final = {"sbr", "vrf"}  # they put the routes of their interface into a table of its own


def ranked(
    requests: Sequence[NetworkRequest], chosen: str, expected: Callable[[str], frozenset[int]]
) -> list[NetworkRequest]:
    """The requests, the `chosen` network first, each with its rivals: those that take precedence.

    `expected` maps a network's name to what `expected` below returns for it. Raises LabelError.
    """
    names = [request.network for request in requests]
    if chosen and chosen not in names:
        raise LabelError(LABEL, chosen, f"the container is not on that network (it is on {', '.join(names)})")
    if chosen and not expected(chosen):
        raise LabelError(LABEL, chosen, "that network has no default route to give")
    if len(requests) == 1:
        return list(requests)
    order = sorted(requests, key=lambda request: request.network != chosen) if chosen else list(requests)
    keys = [(request.network, request.ifname) for request in order]
    return [replace(request, rivals=tuple(keys[:place])) for place, request in enumerate(order)]


def expected(network: NetworkList) -> frozenset[int]:
    """The IP versions in which an attachment to `network` will have a default route, as far as its file says."""
    if any(plugin.type in _MOVING for plugin in network.plugins):
        return frozenset()
    return frozenset[int]().union(*(_expected(plugin.type, plugin.raw) for plugin in network.plugins))


def given(result: Result) -> frozenset[int]:
    """The IP versions in which an attachment has the default route."""
    return frozenset(route.dst.version for route in result.routes if not route.dst.prefixlen and route.table in _MAIN)


def without(network: NetworkList, versions: Collection[int]) -> NetworkList:
    """The network without default routes of these IP versions, as far as its configuration asks for them."""
    if not versions or any(plugin.type in _MOVING for plugin in network.plugins):
        return network
    plugins = [_without(plugin.raw, versions) for plugin in network.plugins]
    return parse_list(strict_json.encode({**network.extra, "plugins": plugins}), network.source)


def stripped(result: Result, versions: Collection[int]) -> Result:
    """The result without default routes of these IP versions; everything else that a plugin printed stays."""
    if not given(result) & set(versions):
        return result
    routes = [
        route
        for route in result.routes
        if route.dst.prefixlen or route.dst.version not in versions or route.table not in _MAIN
    ]
    return replace(result, routes=tuple(routes), raw=_stripped(result.raw, versions))


def _stripped(raw: Mapping[str, Any], versions: Collection[int]) -> dict[str, Any]:
    """The same of what was printed: `routes` stands at the top, below 0.3.0 in `ip4` and `ip6`."""
    changed = dict(raw)
    if isinstance(routes := raw.get("routes"), list):
        changed["routes"] = _other_routes(routes, versions)
    families = {key: value for key in ("ip4", "ip6") if isinstance(value := raw.get(key), dict)}
    return {**changed, **{key: _stripped(value, versions) for key, value in families.items()}}


def _expected(kind: str, conf: Mapping[str, Any]) -> frozenset[int]:
    if isinstance(delegate := strict_json.lookup(conf, "delegate"), dict):
        return _expected(str(delegate.get("type", "bridge")), delegate) or _BOTH
    if kind not in _KNOWN:
        return _BOTH
    ipam = strict_json.lookup(conf, "ipam")
    if not isinstance(ipam, dict) or not (source := strict_json.lookup(ipam, "type")):
        return frozenset()
    if source == "dhcp":
        return frozenset({4})
    if source not in _STATED:
        return _BOTH
    found = {version for route in _routes(ipam) for version in _BOTH if _is_default(route, {version})}
    if strict_json.lookup(conf, "isDefaultGateway") is True:
        found |= _versions(ipam)
    return frozenset(found)


def _without(conf: Mapping[str, Any], versions: Collection[int]) -> dict[str, Any]:
    changed = dict(conf)
    if isinstance(delegate := strict_json.lookup(conf, "delegate"), dict):
        changed[_spelled(conf, "delegate")] = _without(delegate, versions)
    ipam = strict_json.lookup(conf, "ipam")
    given_ipam = ipam if isinstance(ipam, dict) else {}
    routes = _other_routes(_routes(given_ipam), versions)
    if strict_json.lookup(conf, "isDefaultGateway") is True:
        kept = (_BOTH - set(versions)) & _versions(given_ipam)
        if kept and strict_json.lookup(given_ipam, "type") not in _STATED:
            return changed  # the addresses are not known before the ADD: a default route too many is undone afterwards
        changed[_spelled(conf, "isDefaultGateway")] = False
        changed[_spelled(conf, "isGateway")] = True
        missing = [version for version in sorted(kept) if not any(_is_default(one, {version}) for one in routes)]
        routes += [{"dst": _DEFAULT[version]} for version in missing]
    if routes != _routes(given_ipam):
        changed[_spelled(conf, "ipam")] = {**given_ipam, _spelled(given_ipam, "routes"): routes}
    return changed


def _spelled(conf: Mapping[str, Any], key: str) -> str:
    """The key as the configuration has it: plugins match keys in any case."""
    return next((name for name in conf if name.lower() == key.lower()), key)


def _routes(ipam: Mapping[str, Any]) -> list[Any]:
    routes = strict_json.lookup(ipam, "routes")
    return list(routes) if isinstance(routes, list) else []


def _other_routes(routes: Iterable[Any], versions: Collection[int]) -> list[Any]:
    return [route for route in routes if not _is_default(route, versions)]


def _is_default(route: Any, versions: Collection[int]) -> bool:
    if not isinstance(route, dict) or strict_json.lookup(route, "table") not in _MAIN:
        return False
    network = claims.parsed(strict_json.lookup(route, "dst"))
    return network is not None and not network.prefixlen and network.version in versions


def _versions(ipam: Mapping[str, Any]) -> frozenset[int]:
    """The IP versions of the addresses that an IPAM plugin will give; both if that is not known."""
    source = strict_json.lookup(ipam, "type")
    if source == "dhcp":
        return frozenset({4})
    return frozenset(subnet.version for subnet in claims.within(ipam)) if source in _STATED else _BOTH
