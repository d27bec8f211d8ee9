"""Results of CNI 0.1.0 to 1.1.0: read, converted, written.

A result keeps what the plugin printed (`raw`), and the next plugin and the cache get that, so keys that we do not know
are kept; libcni loses them. Other deviations: an address and a route's `dst` are mandatory, and an address's family is
read from the address, whatever `version` says.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import TYPE_CHECKING, Any

from dockercni.cni import strict_json, versions
from dockercni.cni.errors import ResultError
from dockercni.cni.strict_json import DocumentError, Fields, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PREFIX = re.compile(r"([^/%]+)/([0-9]{1,3})")
_MAPPED_BITS = 96  # of ::ffff:0:0/96, in which IPv6 holds IPv4


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface that was created; `sandbox` is empty for those of the host. mtu to pci_id came with 1.1.0."""

    name: str
    mac: str = ""
    mtu: int = 0
    sandbox: str = ""
    socket_path: str = ""
    pci_id: str = ""


@dataclass(frozen=True, slots=True)
class IPConfig:
    """An address with its prefix; `interface` is an index into the result's interfaces."""

    address: IPv4Interface | IPv6Interface
    gateway: IPv4Address | IPv6Address | None = None
    interface: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the container; 0 means that mtu, advmss or priority was not given. They came with 1.1.0."""

    dst: IPv4Network | IPv6Network
    gw: IPv4Address | IPv6Address | None = None
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int | None = None
    scope: int | None = None


@dataclass(frozen=True, slots=True)
class DNS:
    """What a resolver needs; all empty if nothing was given."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """The result of an ADD. `raw` is what the plugin printed; by default it is what to_dict() returns."""

    cni_version: str
    interfaces: tuple[Interface, ...] = ()
    ips: tuple[IPConfig, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: DNS = DNS()
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not self.raw:
            object.__setattr__(self, "raw", self.to_dict())

    def addresses_of(self, ifname: str) -> tuple[IPv4Interface | IPv6Interface, ...]:
        """Return the container's addresses on `ifname`; those that name no interface count as well."""
        inside = {n for n, interface in enumerate(self.interfaces) if interface.name == ifname and interface.sandbox}
        return tuple(ip.address for ip in self.ips if ip.interface is None or ip.interface in inside)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object in the shape and key order in which libcni prints this version."""
        if self.cni_version in _SINGLE_FAMILY:
            families = {f"ip{ip.address.version}": _family(ip, self.routes) for ip in reversed(self.ips)}
            return {
                "cniVersion": self.cni_version,
                **dict(sorted(families.items())),
                "dns": _dns(self.dns, modern=False),
            }
        modern = self.cni_version in _MODERN
        written = {
            "cniVersion": self.cni_version,
            "dns": _dns(self.dns, modern=modern),
            "interfaces": [_interface(interface, modern=modern) for interface in self.interfaces],
            "ips": [_ip(ip, modern=modern) for ip in self.ips],
            "routes": [_route(route, modern=modern) for route in self.routes],
        }
        if modern:
            return _without_empty(written)
        # the encoder of libcni for these versions never omits dns, and writes it last
        dns = written.pop("dns")
        return _without_empty(written) | {"dns": dns}


_SINGLE_FAMILY = frozenset({"0.1.0", "0.2.0"})  # ip4 and ip6, at most one address each
_MODERN = frozenset({"1.0.0", "1.1.0"})  # no ips[].version, keys in alphabetical order


def parse(data: Any, inherit_version: str) -> Result:
    """Read a result in the shape of its own cniVersion, or else of `inherit_version` (the configuration's).

    `data` is JSON as bytes, or the value that it held; a Result is returned as it is. A bare `null` is an empty
    result, as in libcni. Raises ResultError, with the key's path.
    """
    if isinstance(data, Result):
        return data
    try:
        value = strict_json.decode(data) if isinstance(data, bytes) else data
        fields = Fields.of({} if value is None else value)
        version = fields.string("cniVersion") or inherit_version or versions.OLDEST
        if version not in versions.KNOWN:
            fields.fail("cniVersion", f"{shown(version)} is not a version of CNI that is known here")
        return _read(fields, version)
    except DocumentError as error:
        where = f"line {error.position[0]}, column {error.position[1]}: " if error.position else ""
        raise ResultError(where + error.problem, key=error.key) from None


def parse_routes(fields: Fields, key: str) -> tuple[Route, ...]:
    """Read a list of routes, as they stand in a result. Raises ResultError, with the key's path."""
    try:
        return tuple(map(_read_route, fields.objects(key)))
    except DocumentError as error:
        raise ResultError(error.problem, key=error.key) from None


def parse_dns(fields: Fields, key: str) -> DNS:
    """Read DNS settings, as they stand in a result. Raises ResultError, with the key's path."""
    try:
        return _read_dns(fields.object(key))
    except DocumentError as error:
        raise ResultError(error.problem, key=error.key) from None


def convert(result: Result, version: str) -> Result:
    """Return `result` in another version, with what that version can say. Raises ResultError.

    libcni's matrix: 0.1.0 and 0.2.0 keep the first address of each family, and destination and gateway of that
    family's routes; below 1.0.0 interfaces lose mtu, socketPath and pciID. Between versions of one shape nothing but
    the version changes, so that unknown keys stay.
    """
    version = version or versions.OLDEST
    if version == result.cni_version:
        return result
    if version not in versions.KNOWN:
        raise ResultError(f"cannot convert: {shown(version)} is not a version of CNI that is known here")
    if _shape(version) == _shape(result.cni_version):
        return replace(result, cni_version=version, raw=_stamped(result.raw, version))
    if version in _SINGLE_FAMILY:
        return _to_single_family(result, version)
    interfaces = tuple(Interface(each.name, mac=each.mac, sandbox=each.sandbox) for each in result.interfaces)
    return Result(version, interfaces, result.ips, result.routes, result.dns)


def _shape(version: str) -> tuple[bool, bool]:
    return version in _SINGLE_FAMILY, version in _MODERN


def _stamped(raw: Mapping[str, Any], version: str) -> Mapping[str, Any]:
    if raw.get("cniVersion") == version:
        return raw
    return {"cniVersion": version} | {key: value for key, value in raw.items() if key.lower() != "cniversion"}


def _to_single_family(result: Result, version: str) -> Result:
    first = {ip.address.version: IPConfig(ip.address, ip.gateway) for ip in reversed(result.ips)}
    if not first:
        raise ResultError("cannot convert: no valid IP addresses")
    # IPv4 first: that is the order in which a result of that shape is read again
    routes = tuple(Route(each.dst, each.gw) for family in (4, 6) if family in first
                   for each in result.routes if each.dst.version == family)  # fmt: skip
    return Result(version, (), tuple(first[family] for family in sorted(first)), routes, result.dns)


def _read(fields: Fields, version: str) -> Result:
    common: dict[str, Any] = {
        "cni_version": version,
        "dns": _read_dns(fields.object("dns")),
        "raw": _stamped(fields.values, version),
    }
    if version in _SINGLE_FAMILY:
        families = [fields.object(key) for key in ("ip4", "ip6") if fields.get(key) is not None]
        ips = tuple(_read_ip(family, "ip") for family in families)
        routes = tuple(_read_route(route) for family in families for route in family.objects("routes"))
        return Result(ips=ips, routes=routes, **common)
    return Result(
        interfaces=tuple(_read_interface(each, modern=version in _MODERN) for each in fields.objects("interfaces")),
        ips=tuple(_read_ip(each, "address") for each in fields.objects("ips")),
        routes=tuple(_read_route(each) for each in fields.objects("routes")),
        **common,
    )


def _read_interface(fields: Fields, *, modern: bool) -> Interface:
    interface = Interface(fields.string("name"), mac=fields.string("mac"), sandbox=fields.string("sandbox"))
    if not modern:
        return interface
    return replace(
        interface,
        mtu=fields.integer("mtu") or 0,
        socket_path=fields.string("socketPath"),
        pci_id=fields.string("pciID"),
    )


def _read_ip(fields: Fields, key: str) -> IPConfig:
    fields.string("version")  # only its type matters: the address says the same
    return IPConfig(_read_prefix(fields, key), _read_address(fields, "gateway"), fields.integer("interface"))


def _read_route(fields: Fields) -> Route:
    return Route(
        _read_prefix(fields, "dst").network,
        _read_address(fields, "gw"),
        mtu=fields.integer("mtu") or 0,
        advmss=fields.integer("advmss") or 0,
        priority=fields.integer("priority") or 0,
        table=fields.integer("table"),
        scope=fields.integer("scope"),
    )


def _read_dns(fields: Fields) -> DNS:
    return DNS(
        fields.strings("nameservers"), fields.string("domain"), fields.strings("search"), fields.strings("options")
    )


def _read_prefix(fields: Fields, key: str) -> IPv4Interface | IPv6Interface:
    text = fields.string(key)
    if not text:
        fields.fail(key, "missing")
    prefix = _prefix(text)
    if prefix is None:
        fields.fail(key, f"{shown(text)} is not an address with a prefix length")
    return prefix


@lru_cache(maxsize=256)  # every plugin of a list, and whatever reads the record, parses the same few addresses
def _prefix(text: str) -> IPv4Interface | IPv6Interface | None:
    # the pattern leaves out what ipaddress takes and CNI does not: zones, netmasks, an address without a prefix
    match = _PREFIX.fullmatch(text)
    if match is None:
        return None
    try:
        prefix = ipaddress.ip_interface(text)
        mapped = prefix.ip.ipv4_mapped if isinstance(prefix, IPv6Interface) else None
        return prefix if mapped is None else IPv4Interface((mapped, int(match[2]) - _MAPPED_BITS))
    except ValueError:
        return None


def _read_address(fields: Fields, key: str) -> IPv4Address | IPv6Address | None:
    text = fields.string(key)
    if not text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        fields.fail(key, f"{shown(text)} is not an address")
    if isinstance(address, IPv4Address):
        return address
    if address.scope_id is not None:
        fields.fail(key, f"{shown(text)} has a zone")
    return address.ipv4_mapped or address


def _without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what Go's omitempty leaves out; callers give None for a pointer that is nil."""
    return {key: value for key, value in values.items() if value not in (None, "", [], {})}


def _family(ip: IPConfig, routes: Sequence[Route]) -> dict[str, Any]:
    same = [_route(route, modern=False) for route in routes if route.dst.version == ip.address.version]
    return _without_empty({"ip": str(ip.address), "gateway": _text(ip.gateway), "routes": same})


def _interface(interface: Interface, *, modern: bool) -> dict[str, Any]:
    if not modern:
        optional = _without_empty({"mac": interface.mac, "sandbox": interface.sandbox})
        return {"name": interface.name, **optional}
    optional = {
        "mac": interface.mac,
        "mtu": interface.mtu or None,
        "pciID": interface.pci_id,
        "sandbox": interface.sandbox,
        "socketPath": interface.socket_path,
    }
    return dict(sorted({"name": interface.name, **_without_empty(optional)}.items()))


def _ip(ip: IPConfig, *, modern: bool) -> dict[str, Any]:
    written = {"address": str(ip.address), "gateway": _text(ip.gateway), "interface": ip.interface}
    if modern:
        return _without_empty(written)
    old = {"version": str(ip.address.version), "interface": ip.interface}
    return _without_empty(old | written)


def _route(route: Route, *, modern: bool) -> dict[str, Any]:
    written = {
        "dst": str(route.dst),
        "gw": _text(route.gw),
        "mtu": route.mtu or None,
        "advmss": route.advmss or None,
        "priority": route.priority or None,
        "table": route.table,
        "scope": route.scope,
    }
    return _without_empty(dict(sorted(written.items())) if modern else written)


def _dns(dns: DNS, *, modern: bool) -> dict[str, Any]:
    written = {
        "nameservers": list(dns.nameservers),
        "domain": dns.domain,
        "search": list(dns.search),
        "options": list(dns.options),
    }
    return _without_empty(dict(sorted(written.items())) if modern else written)


def _text(address: IPv4Address | IPv6Address | None) -> str | None:
    return None if address is None else str(address)
