"""What an attachment needs of FORWARD, by its record alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dockercni.cni import EXEC, CacheEntry, CNIError, NetworkList, parse_list
from dockercni.model import IPAddress
from dockercni.reconcile import claims


@dataclass(frozen=True, slots=True)
class Use:
    """`bridges` are named by the configuration and may not exist yet; `links` are all links of the host that are named.
    `by_address`: without a link, the addresses have to be let through. `open`: other networks may reach it.
    """

    bridges: frozenset[str] = frozenset()
    links: frozenset[str] = frozenset()
    addresses: frozenset[IPAddress] = frozenset()
    by_address: bool = False
    open: bool = False


def bridges(network: NetworkList) -> frozenset[str]:
    """The bridges that the configuration of a network names."""
    return frozenset(claims.bridges(network))


def use(entry: CacheEntry) -> Use:
    """What a recorded attachment of any runtime uses; nothing if the record does not say."""
    try:
        network = parse_list(entry.config)
        result = entry.attached
    except CNIError:
        return Use()
    firewalls = [
        (plugin.raw, position >= len(entry.served) or entry.served[position] == EXEC)
        for position, plugin in enumerate(network.plugins)
        if plugin.type == "firewall"
    ]
    named = bridges(network)
    return Use(
        bridges=named,
        links=named | {link.name for link in result.interfaces if link.name and not link.sandbox},
        addresses=frozenset(ip.address.ip for ip in result.ips),
        # the executable lets addresses through itself
        by_address=any(not executable for _, executable in firewalls),
        open=any(raw.get("ingressPolicy") == "open" for raw, _ in firewalls),
    )
