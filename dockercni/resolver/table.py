"""Which container has a name, as seen by the container that asks. Pure.

A container's name is known on each of its networks, with its addresses there. As in Docker's own resolver, the first of
the asker's networks that knows a name answers, and NAME.NETWORK chooses a network.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from dockercni.resolver import wire
from dockercni.resolver.messages import Names
from dockercni.resolver.wire import Question

_EVERYBODY: Final = ""  # the scope of a name that all containers on the network know; others: a Compose project
_LENGTHS: Final = {wire.A: (4,), wire.AAAA: (16,), wire.ANY: (4, 16)}  # type of a question -> bytes of an address
_V4: Final = ".in-addr.arpa"
_V6: Final = ".ip6.arpa"


@dataclass(slots=True)
class _Network:
    """The names on one network: scope and name -> container's id -> its addresses; and who has an address."""

    names: dict[tuple[str, str], dict[str, tuple[bytes, ...]]] = field(default_factory=dict)
    owners: dict[bytes, tuple[str, str]] = field(default_factory=dict)  # address -> container's id and name


class Table:
    """All containers with their names and addresses on each network."""

    def __init__(self) -> None:
        self._containers: dict[str, Names] = {}
        self._networks: dict[str, _Network] = {}

    def set(self, names: Names) -> None:
        """Set a container's names and addresses. Raises ValueError without a name, or for an address that is none."""
        if not names.names:
            raise ValueError("a container without a name")
        addresses = [tuple(ip_address(text).packed for text in on.addresses) for on in names.networks]
        self.remove(names.id)
        self._containers[names.id] = names
        for on, packed in zip(names.networks, addresses, strict=True):
            network = self._networks.setdefault(on.network, _Network())
            for key in _keys(names, on.aliases):
                have = network.names.setdefault(key, {})
                have[names.id] = have.get(names.id, ()) + packed  # it may be on the network more than once
            for address in packed:
                network.owners[address] = names.id, names.names[0]

    def remove(self, container_id: str) -> None:
        """Remove a container. One that is not there is no error."""
        names = self._containers.pop(container_id, None)
        if names is None:
            return
        for on in names.networks:
            network = self._networks.get(on.network)
            if network is None:  # the container was on it more than once
                continue
            for key in _keys(names, on.aliases):
                if key in network.names:  # an alias may be listed twice
                    network.names[key].pop(container_id, None)
                    if not network.names[key]:
                        del network.names[key]
            network.owners = {key: owner for key, owner in network.owners.items() if owner[0] != container_id}
            if not network.names:
                del self._networks[on.network]

    def all(self) -> list[Names]:
        """Every container."""
        return list(self._containers.values())

    def get(self, container_id: str) -> Names | None:
        """One container; None if it is not there."""
        return self._containers.get(container_id)

    def records(self, asker_id: str, asked: Question) -> Sequence[bytes] | None:
        """The data of the records that answer a container's question, in random order.

        Empty for a container's name without a record of that type; None for other names, which are to be forwarded.
        """
        asker = self._containers.get(asker_id)
        if asker is None or asked.cls != wire.IN:
            return None
        if asked.type == wire.PTR:
            return self._pointer(asker, asked.name)
        addresses = self._addresses(asker, asked.name)
        if addresses is None:
            return None
        found = [address for address in addresses if len(address) in _LENGTHS.get(asked.type, ())]
        if len(found) > 1:
            random.shuffle(found)
        return found

    def _addresses(self, asker: Names, name: str) -> list[bytes] | None:
        networks = [on.network for on in asker.networks]
        for network in networks:
            if found := self._on(network, name, asker.project):
                return found
        for network in networks:
            bare = name.removesuffix(f".{network.lower()}")
            if bare != name and (found := self._on(network, bare, asker.project)):
                return found
        return None

    def _on(self, network: str, name: str, project: str) -> list[bytes]:
        """The addresses of a name on one network, each once. A name without an address counts as unknown."""
        names = self._networks[network].names
        scopes = dict.fromkeys((_EVERYBODY, project))
        found = (names.get((scope, name), {}) for scope in scopes)
        return list(dict.fromkeys(address for have in found for addresses in have.values() for address in addresses))

    def _pointer(self, asker: Names, name: str) -> list[bytes] | None:
        address = _reversed(name)
        for on in asker.networks if address else ():
            if owner := self._networks[on.network].owners.get(address):
                try:
                    return [wire.encoded(f"{owner[1]}.{on.network}")]
                except ValueError:  # DNS has no form for the container's or the network's name
                    continue
        return None


def _keys(names: Names, aliases: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in (*names.names, *aliases):
        if name:
            yield _EVERYBODY, name.lower()
    if names.project and names.service:
        yield names.project, names.service.lower()


def _reversed(name: str) -> bytes:
    """The address in a name such as 1.0.17.172.in-addr.arpa; empty if there is none."""
    try:
        if name.endswith(_V4):
            return IPv4Address(".".join(reversed(name.removesuffix(_V4).split(".")))).packed
        if name.endswith(_V6):
            digits = "".join(reversed(name.removesuffix(_V6).split(".")))
            return IPv6Address(bytes.fromhex(digits)).packed
    except ValueError:
        pass
    return b""
