"""static: the addresses, routes and DNS settings that the configuration or the caller gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dockercni.cni import strict_json, versions
from dockercni.cni.result import IPConfig, Result
from dockercni.plugins import addresses, keys
from dockercni.plugins.contract import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dockercni.cni.result import DNS, Route
    from dockercni.plugins.contract import Request

_IPAM_KEYS = ("routes", "addresses")  # and dns, which every plugin may have


@dataclass(frozen=True, slots=True)
class _Assignment:
    ips: tuple[IPConfig, ...]
    routes: tuple[Route, ...]
    dns: DNS


def unsupported(conf: Mapping[str, Any]) -> str:
    """See Plugin. Only `ipam` is static's own; the rest belongs to the plugin that delegates to it."""
    ipam = strict_json.lookup(conf, "ipam")
    return keys.unknown(ipam, _IPAM_KEYS, "ipam: ") if isinstance(ipam, dict) else ""


def validate(request: Request) -> None:
    """See Plugin."""
    _read(request)


def add(request: Request) -> Result:
    """The result without interfaces. Raises PluginFailure for addresses that are none."""
    assignment = _read(request)
    return Result(versions.CURRENT, ips=assignment.ips, routes=assignment.routes, dns=assignment.dns)


def check(request: Request) -> None:
    """Compare the gateways of the addresses that are both configured and in prevResult."""
    assignment = _read(request)
    previous = request.previous
    if previous is None:
        raise PluginFailure("Required prevResult missing")
    for wanted in assignment.ips:
        found = [ip for ip in previous.ips if ip.address.ip == wanted.address.ip]
        if found and wanted.gateway is not None and found[0].gateway != wanted.gateway:
            raise PluginFailure(f"static: Failed to match addr {wanted.address.ip} on interface {request.ifname}")


def delete(request: Request) -> None:
    """Nothing was reserved, so there is nothing to give back. The configuration is not read."""


def status(request: Request) -> None:
    """An ADD can be served if the configuration is good."""
    validate(request)


def gc(request: Request) -> None:
    """Nothing is ever kept."""


def _read(request: Request) -> _Assignment:
    """Read the configuration: args.cni.ips replaces its addresses, runtimeConfig.ips replaces those; CNI_ARGS adds."""
    fields = request.fields
    if fields.get("ipam") is None:
        raise PluginFailure("IPAM config missing 'ipam' key")
    ipam = fields.object("ipam")
    routes, dns = addresses.routes(ipam), addresses.dns(ipam)
    given = [(each.string("address"), addresses.read(each, "gateway")) for each in ipam.objects("addresses")]
    args = request.arguments("IP", "GATEWAY")
    asked = [_prefixed(text.strip(), "the 'ip' field is expected to be") for text in _listed(args.get("IP", ""))]
    gateways = [_gateway(text) for text in _listed(args.get("GATEWAY", ""))]
    replaced: tuple[str, ...] = ()
    for texts in (fields.object("args").object("cni").strings("ips"), fields.object("runtimeConfig").strings("ips")):
        replaced = texts or replaced
    if replaced:
        entry = "an entry in the 'ips' field is NOT"
        ips = [IPConfig(_prefixed(text, entry)) for text in replaced]
    else:
        configured = [
            IPConfig(_prefixed(text, "the 'address' field is expected to be"), gateway) for text, gateway in given
        ]
        ips = [*configured, *(_behind(each, gateways) for each in asked)]
    addresses.check_families(request, (ip.address for ip in ips))
    return _Assignment(tuple(ips), routes, dns)


def _listed(text: str) -> list[str]:
    return text.split(",") if text else []


def _prefixed(text: str, complaint: str) -> addresses.Prefixed:
    found = addresses.parse_prefixed(text)
    if found is None:
        raise PluginFailure(f"{complaint} in CIDR notation, got: '{text}'")
    return found


def _gateway(text: str) -> addresses.Address:
    found = addresses.parse(text.strip())
    if found is None:
        raise PluginFailure(f"invalid gateway address: {text}")
    return found


def _behind(address: addresses.Prefixed, gateways: Iterable[addresses.Address]) -> IPConfig:
    """The address with the last of the `gateways` that lies in its subnet."""
    fitting = [gateway for gateway in gateways if gateway in address.network]
    return IPConfig(address, fitting[-1] if fitting else None)
