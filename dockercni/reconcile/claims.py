"""What network configurations claim: subnets, and bridges of the host. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Any, Final

from dockercni.cni import NetworkList
from dockercni.model import IPNetwork

_ELSEWHERE: Final = {"routes", "prevresult", "dns"}  # keys for addresses that the configuration does not claim
_PREFIXED: Final = re.compile(r"[0-9a-fA-F:.]+/[0-9]{1,3}")


def bridges(network: NetworkList) -> list[str]:
    """The names of the bridges that a network uses."""
    names = [plugin.raw.get("bridge") or "cni0" for plugin in network.plugins if plugin.type == "bridge"]
    return [name for name in names if isinstance(name, str)]


def subnets(network: NetworkList) -> list[IPNetwork]:
    """Every subnet that a plugin of the network is configured with, whichever key an IPAM plugin has for it."""
    return list(dict.fromkeys(subnet for plugin in network.plugins for subnet in within(plugin.raw)))


def within(conf: Mapping[str, Any]) -> list[IPNetwork]:
    """Every subnet in one object of a configuration."""
    return [subnet for text in _texts(conf) if (subnet := parsed(text))]


def mentioned(text: str) -> list[IPNetwork]:
    """Every subnet in a file that is not a valid configuration: its author may be about to repair it."""
    return [subnet for match in _PREFIXED.findall(text) if (subnet := parsed(match)) and subnet.prefixlen]


def parsed(text: object) -> IPNetwork | None:
    """The subnet that an address with a prefix length belongs to; None for anything else."""
    try:
        return ip_network(text, strict=False) if isinstance(text, str) and "/" in text else None
    except ValueError:
        return None


def overlap(one: IPNetwork, other: IPNetwork) -> bool:
    """Whether an address is in both."""
    return one.version == other.version and one.overlaps(other)


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for one in value:
                yield from _texts(one)
        case Mapping():
            for key, one in value.items():
                if key.lower() not in _ELSEWHERE:
                    yield from _texts(one)
