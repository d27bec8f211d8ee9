"""Configurations that dockercni writes: their content, file name, bridge and subnets. Pure."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from ipaddress import IPv4Network, ip_network
from itertools import pairwise
from typing import Any, Final

from dockercni.errors import UsageError
from dockercni.model import IPNetwork
from dockercni.plugins.dispatch import KEY
from dockercni.reconcile import claims, networks

_IFNAME_BYTES: Final = 15
_BEHIND: Final = ("10", "20", "30", "40", "50", "60", "70", "80", "90", "99")
_BEFORE: Final = ("10", "05", "01", "00")
# Names that other programs give to their bridges: taken even if no such bridge exists yet.
_RESERVED: Final = frozenset({"cni0", "docker0", "docker_gwbridge", networks.BUILT_IN_BRIDGE})
_LONGEST: Final = {4: 30, 6: 126}  # prefix lengths: the network, a gateway and one container need an address each
_SHORTEST: Final = {4: 8, 6: 16}


def conflist(name: str, subnets: Sequence[IPNetwork], bridge: str, *, default: bool) -> dict[str, Any]:
    """The built-in network under another name: a bridge with an address of each of the `subnets`.

    Unless it is the `default` network, the configuration says so, whatever its file is called.
    """
    built_in: dict[str, Any] = json.loads(networks.built_in_network(str(subnets[0])).raw)
    first = built_in["plugins"][0]
    first["bridge"] = bridge
    first["ipam"]["ranges"] = [[{"subnet": str(subnet)}] for subnet in subnets]
    first["ipam"]["routes"] = [{"dst": "0.0.0.0/0" if subnet.version == 4 else "::/0"} for subnet in subnets]
    ours = {} if default else {KEY: {"default": False}}
    return {"cniVersion": built_in["cniVersion"], "name": name, **ours, "plugins": built_in["plugins"]}


def file_name(name: str, first: str | None, *, default: bool) -> str:
    """The file name of a new network: after `first`, the first file of the directory; that of the default before it.

    The order matters because other programs take the first file of the directory as their default. Raises UsageError
    if no name sorts before `first`.
    """
    names = [f"{number}-{name}.conflist" for number in (_BEFORE if default else _BEHIND)]
    if first is None:
        return names[0]
    for candidate in names:
        if (os.fsencode(candidate) < os.fsencode(first)) is default:
            return candidate
    if default:
        raise UsageError(f"--default: no file can stand before {first}; rename that one, or set default-network")
    return f"{os.path.splitext(first)[0]}z-{name}.conflist"


def bridge_name(name: str, used: Collection[str]) -> str:
    """An unused name for a network's bridge: made from the network's name, with a hash if that is too long or taken.

    Without the hash, two long names with the same beginning would give the same bridge.
    """
    plain = networks.BUILT_IN_BRIDGE if name == networks.BUILT_IN else f"{name}0"
    taken = set(used) | (_RESERVED - {plain} if name == networks.BUILT_IN else _RESERVED)
    return next(one for one in _bridge_names(name, plain) if len(one) <= _IFNAME_BYTES and one not in taken)


def _bridge_names(name: str, plain: str) -> Iterator[str]:
    yield plain
    number = 0
    while True:
        digest = hashlib.sha256(f"{name} {number}".encode()).hexdigest()[:5]
        yield f"{name[: _IFNAME_BYTES - 6]}-{digest}"
        number += 1


def asked(texts: Sequence[str]) -> tuple[IPNetwork, ...]:
    """The subnets of `--subnet`: one, or one of each family, IPv4 first. Raises UsageError."""
    found = sorted(map(_subnet, texts), key=lambda subnet: subnet.version)
    for one, other in pairwise(found):
        if one.version == other.version:
            raise UsageError(f"--subnet {one} --subnet {other}: a network has one subnet for each of IPv4 and IPv6")
    return tuple(found)


def _subnet(text: str) -> IPNetwork:
    if "/" not in text:
        raise UsageError(f"--subnet {text}: the prefix length is missing, as in 10.60.0.0/16 or fd00:60::/64")
    try:
        subnet = ip_network(text)
    except ValueError as error:
        raise UsageError(f"--subnet {text}: {error}") from error
    longest, shortest = _LONGEST[subnet.version], _SHORTEST[subnet.version]
    if subnet.prefixlen > longest:
        raise UsageError(f"--subnet {text}: too small for a gateway and a container (at most /{longest})")
    if subnet.prefixlen < shortest:
        raise UsageError(f"--subnet {text}: too large to be a network of one host (at least /{shortest})")
    address = subnet.network_address
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped or address.is_multicast or address.is_loopback or address.is_link_local or address.is_unspecified:
        raise UsageError(f"--subnet {text}: not a range that containers can have")
    return subnet


def candidates() -> Iterator[str]:
    """Subnets to try in this order: those that homes, offices and engines rarely use, then all other private ones."""
    yield from networks.SUBNETS
    yield from (f"10.{number}.0.0/16" for number in range(100, 256))
    yield from (f"172.{number}.0.0/16" for number in range(31, 15, -1))
    yield from (f"192.168.{number}.0/24" for number in range(255, 0, -1))


def refuse_taken(subnet: IPNetwork, claimed: Iterable[tuple[IPNetwork, str]], used: Iterable[IPNetwork]) -> None:
    """Raise UsageError for a subnet that overlaps one that is `claimed` (with by whom), or holds one that is `used`.

    A wider route, such as a VPN's to all of 10.0.0.0/8, is no obstacle: the user asked for a part of it on purpose.
    """
    for other, owner in claimed:
        if claims.overlap(subnet, other):
            raise UsageError(f"--subnet {subnet}: overlaps {other} of {owner}")
    for other in used:
        if subnet.version == other.version and other.subnet_of(subnet):  # type: ignore[arg-type]  # as in claims
            raise UsageError(f"--subnet {subnet}: the host has the route or address {other} in it (ip route show)")


def free(used: Iterable[IPNetwork]) -> IPv4Network:
    """The first of the candidates that overlaps nothing that is `used`. Raises NetworkUnavailable."""
    return IPv4Network(networks.free_subnet(used, candidates()))
