"""Elements of our nftables table that no record explains, as when the directories were emptied.

The table belongs to the host, and our plugins may serve another runtime, whose records are elsewhere. So an element is
dead only if no namespace on this host has its address, or if a record of the same network gives the address to another
container. The policy of a bridge is dead if the bridge has no port.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from dockercni.cni import CacheEntry
from dockercni.linux import host_links, netns_state, nft
from dockercni.linux.netlink import NetlinkError
from dockercni.linux.nft import NftablesError
from dockercni.linux.nft_elements import Element
from dockercni.model import IPAddress
from dockercni.plugins import layout, ruleset
from dockercni.reconcile import records
from dockercni.reconcile.failure import retry_of
from dockercni.reconcile.firewall_rules import RulesError
from dockercni.reconcile.uses import use

KINDS: Final = (*ruleset.PORTS, *ruleset.SOURCES, *ruleset.TARGETS)


@dataclass(frozen=True, slots=True)
class OwnerElements:
    """The unexplained elements of one owner, which their comment names."""

    comment: str
    elements: tuple[Element, ...]

    @property
    def bridge(self) -> str:
        """The bridge whose policy it is; "" where it is an attachment's."""
        return self.comment if self.elements[0].set in ruleset.BRIDGES else ""

    @property
    def container_id(self) -> str:
        """The id of the container that it was made for; "" where it was made for a bridge."""
        return "" if self.bridge else self.comment.partition(" ")[0]

    def __str__(self) -> str:
        if self.bridge:
            return f"ingress policy of bridge {self.bridge} in table inet {layout.NAME}"
        ports = [layout.port_words(each) for each in self.elements if each.set in ruleset.PORTS]
        first = ports[0] if ports else f"address {ruleset.address(self.elements[0])}"
        more = f" and {len(self.elements) - 1} more" if len(self.elements) > 1 else ""
        return f"{first}{more} in table inet {layout.NAME} for {self.comment}"


def find(entries: Iterable[CacheEntry]) -> list[OwnerElements]:
    """What none of these records explains. A record is written before its first element. Raises RulesError."""
    return _unexplained(KINDS, {_comment(entry) for entry in entries})


def policies(entries: Iterable[CacheEntry]) -> list[OwnerElements]:
    """The policies of bridges that none of these records names. Raises RulesError."""
    return _unexplained(ruleset.BRIDGES, {name for entry in entries for name in use(entry).links})


def _unexplained(kinds: Iterable[str], explained: Collection[str]) -> list[OwnerElements]:
    if not nft.available():  # then there cannot be any
        return []
    try:
        present = ruleset.owned(kinds)
    except NetlinkError as error:
        raise RulesError.of(error) from error
    found: dict[str, list[Element]] = {}
    for element in present:
        if element.comment not in explained:
            found.setdefault(element.comment, []).append(element)
    return [OwnerElements(comment, tuple(elements)) for comment, elements in found.items()]


def dead(owners: Sequence[OwnerElements], entries: Iterable[CacheEntry]) -> set[OwnerElements]:
    """Those that certainly serve nothing. Raises RulesError if not all namespaces can be read."""
    if not owners:
        return set()
    try:
        seen = netns_state.addresses_everywhere()
    except OSError as error:
        raise RulesError(f"cannot list the addresses of containers: {error.strerror}", retry_of(error)) from error
    given: dict[IPAddress, list[CacheEntry]] = {}
    for entry in entries:
        for each in records.given(entry).ips:
            given.setdefault(each.address.ip, []).append(entry)

    def is_dead(owner: OwnerElements, element: Element) -> bool:
        if owner.bridge:
            return not host_links.has_ports(owner.bridge)
        ip = ruleset.address(element)
        return bool(ip) and (ip not in seen or any(_replaced(owner.comment, entry) for entry in given.get(ip, ())))

    return {owner for owner in owners if all(is_dead(owner, element) for element in owner.elements)}


def remove(owner: OwnerElements) -> None:
    """Take it out. Raises RulesError."""
    try:
        ruleset.remove(owner.elements)
    except (NetlinkError, NftablesError) as error:
        raise RulesError.of(error) from error


def _replaced(comment: str, entry: CacheEntry) -> bool:
    """Whether the entry is of the comment's network, and of another container."""
    container_id, _, rest = comment.partition(" ")
    ifname = rest.partition(" ")[0]
    same_network = ruleset.Owner(container_id, ifname, entry.network).comment == comment
    return same_network and entry.container_id != container_id


def _comment(entry: CacheEntry) -> str:
    return ruleset.Owner(entry.container_id, entry.ifname, entry.network).comment
