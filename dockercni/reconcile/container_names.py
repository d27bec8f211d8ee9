"""What the resolver has to know of a container, and what its hosts file says of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from dockercni.cni import CacheEntry
from dockercni.model import Container
from dockercni.reconcile import records
from dockercni.resolver.messages import Names, OnNetwork

_PROJECT: Final = "com.docker.compose.project"
_SERVICE: Final = "com.docker.compose.service"
_SHORT: Final = 12  # digits of an id


def of(container: Container, entries: Sequence[CacheEntry], aliases: Mapping[str, Sequence[str]]) -> Names:
    """Names, addresses and DNS servers of a container with these attachments.

    `aliases` has the additional names on each network; those of "" are for all of them.
    """
    networks = [
        OnNetwork(
            entry.network,
            [str(ip.address.ip) for ip in records.given(entry).ips],
            [*aliases.get("", ()), *aliases.get(entry.network, ())],
        )
        for entry in entries
    ]
    given = (server for entry in entries for server in records.given(entry).dns.nameservers)
    return Names(
        container.id,
        list(dict.fromkeys((container.name, container.id[:_SHORT], *host_names(container)))),
        networks,
        container.labels.get(_PROJECT, ""),
        container.labels.get(_SERVICE, ""),
        list(container.dns.servers or dict.fromkeys(given)),
    )


def host_names(container: Container) -> tuple[str, ...]:
    """The container's host names, the full one first, as hosts(5) has them."""
    names = (container.hostname or container.id[:_SHORT],)
    return (f"{names[0]}.{container.domainname}", *names) if container.domainname else names
