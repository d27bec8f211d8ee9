"""Addresses in configurations, read as Go reads them: no zones, and IPv4 inside of IPv6 is IPv4."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import TYPE_CHECKING

from dockercni.cni import result, versions
from dockercni.cni.strict_json import Fields, shown
from dockercni.plugins.contract import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dockercni.cni.result import DNS, Route
    from dockercni.plugins.contract import Request

_MAPPED_BITS = 96  # of ::ffff:0:0/96, in which IPv6 holds IPv4

Address = IPv4Address | IPv6Address
Prefixed = IPv4Interface | IPv6Interface


def parse(text: str) -> Address | None:
    """An address without a prefix length; None if `text` is none (Go's net.ParseIP)."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    return None if address.scope_id is not None else address.ipv4_mapped or address


def parse_prefixed(text: str) -> Prefixed | None:
    """An address with its prefix length, host bits kept; None if `text` is none (Go's net.ParseCIDR)."""
    address, slash, length = text.partition("/")
    if not slash or not length.isascii() or not length.isdigit() or "%" in address:
        return None
    try:
        found = ipaddress.ip_interface(text)
        mapped = found.ip.ipv4_mapped if isinstance(found, IPv6Interface) else None
        return found if mapped is None else IPv4Interface((mapped, int(length) - _MAPPED_BITS))
    except ValueError:
        return None


def read(fields: Fields, key: str) -> Address | None:
    """The address under `key`; None if absent or empty. Raises DocumentError."""
    text = fields.string(key)
    if not text:
        return None
    address = parse(text)
    if address is None:
        fields.fail(key, f"{shown(text)} is not an address")
    return address


def parse_either(text: str) -> Address | None:
    """An address, with a prefix length or without; None if `text` is none."""
    if "/" not in text:
        return parse(text)
    prefixed = parse_prefixed(text)
    return None if prefixed is None else parse(str(prefixed.ip))


def with_prefix(address: Address, length: int) -> Prefixed:
    """The address as one of a subnet with that prefix length."""
    return IPv4Interface((address, length)) if isinstance(address, IPv4Address) else IPv6Interface((address, length))


def routes(ipam: Fields) -> tuple[Route, ...]:
    """`routes` of an IPAM configuration. Raises ResultError, with the key's path in it."""
    return result.parse_routes(ipam, "routes")


def dns(ipam: Fields) -> DNS:
    """`dns` of an IPAM configuration. Raises ResultError, with the key's path in it."""
    return result.parse_dns(ipam, "dns")


def check_families(request: Request, addresses: Iterable[Address | Prefixed]) -> None:
    """Raise PluginFailure for more than one address of a family below 0.3.0, which cannot say so in a result."""
    families = [address.version for address in addresses]
    if len(set(families)) < len(families) and versions.parse(request.cni_version) < (0, 3, 0):
        given = request.fields.string("cniVersion")
        raise PluginFailure(f"CNI version {given} does not support more than 1 address per family")
