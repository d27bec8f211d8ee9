"""Who is called what? Names of containers, as each of them may ask for them. Pure.

A name is found for askers on a network that its container is on, with the addresses it has there. As with Docker's own
resolver the first of the asker's networks that knows the name answers, and NAME.NETWORK chooses one of them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from dockercni.resolver import wire
from dockercni.resolver.messages import Known
from dockercni.resolver.wire import Question

_EVERYBODY: Final = ""  # a name for whoever is on the network; else the Compose project whose containers know it
_LENGTHS: Final = {wire.A: (4,), wire.AAAA: (16,), wire.ANY: (4, 16)}  # bytes of the addresses that answer a type
_V4: Final = ".in-addr.arpa"
_V6: Final = ".ip6.arpa"


@dataclass(slots=True)
class _Network:
    """Names on one network: (project or everybody, name) -> id of a container -> its addresses; and the way back."""

    names: dict[tuple[str, str], dict[str, tuple[bytes, ...]]] = field(default_factory=dict)
    owners: dict[bytes, tuple[str, str]] = field(default_factory=dict)  # address -> id of its container, its name


class Table:
    """All containers with the names and addresses that they have on each of their networks."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self._networks: dict[str, _Network] = {}

    def put(self, known: Known) -> None:
        """From now on this is what is known of that container. Raises ValueError for an address that is none."""
        addresses = [tuple(ip_address(text).packed for text in on.addresses) for on in known.networks]
        self.remove(known.id)
        self._known[known.id] = known
        for on, packed in zip(known.networks, addresses, strict=True):
            network = self._networks.setdefault(on.network, _Network())
            for key in _keys(known, on.aliases):
                network.names.setdefault(key, {})[known.id] = packed
            for address in packed:
                network.owners[address] = known.id, known.names[0]

    def remove(self, container_id: str) -> None:
        """Forget a container; one that is not known is no error."""
        known = self._known.pop(container_id, None)
        for on in known.networks if known else ():
            network = self._networks[on.network]
            for key in _keys(known, on.aliases) if known else ():
                if key in network.names:
                    network.names[key].pop(container_id, None)
                    if not network.names[key]:
                        del network.names[key]
            network.owners = {key: owner for key, owner in network.owners.items() if owner[0] != container_id}
            if not network.names:
                del self._networks[on.network]

    def known(self) -> list[Known]:
        """What is known of each container."""
        return list(self._known.values())

    def of(self, container_id: str) -> Known | None:
        """What is known of that container."""
        return self._known.get(container_id)

    def records(self, asker_id: str, asked: Question) -> Sequence[bytes] | None:
        """The data of the records that answer a container's question; None for a name that is not one of ours.

        Empty for a name of ours without a record of that type. Several addresses come in any order.
        """
        asker = self._known.get(asker_id)
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

    def _addresses(self, asker: Known, name: str) -> list[bytes] | None:
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
        """Every address that has the name on a network, each once; a name without an address is none."""
        names = self._networks[network].names
        scopes = dict.fromkeys((_EVERYBODY, project))
        found = (names.get((scope, name), {}) for scope in scopes)
        return list(dict.fromkeys(address for have in found for addresses in have.values() for address in addresses))

    def _pointer(self, asker: Known, name: str) -> list[bytes] | None:
        address = _reversed(name)
        for on in asker.networks if address else ():
            if owner := self._networks[on.network].owners.get(address):
                try:
                    return [wire.encoded(f"{owner[1]}.{on.network}")]
                except ValueError:  # a name of a container or network that DNS cannot express
                    continue
        return None


def _keys(known: Known, aliases: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in (*known.names, *aliases):
        yield _EVERYBODY, name.lower()
    if known.project and known.service:
        yield known.project, known.service.lower()


def _reversed(name: str) -> bytes:
    """The address that a name such as 1.0.17.172.in-addr.arpa stands for; empty if it stands for none."""
    try:
        if name.endswith(_V4):
            return IPv4Address(".".join(reversed(name.removesuffix(_V4).split(".")))).packed
        if name.endswith(_V6):
            digits = "".join(reversed(name.removesuffix(_V6).split(".")))
            return IPv6Address(bytes.fromhex(digits)).packed
    except ValueError:
        pass
    return b""
