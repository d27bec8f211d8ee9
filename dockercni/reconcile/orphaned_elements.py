"""Elements of our nftables table that no record explains: what is left when somebody emptied the directories.

The table belongs to the host, and our plugins may serve another runtime, whose records are elsewhere. So an element is
provably dead only if nobody on this host has the address that it is about, or if a record gives that address on the
same network to somebody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from dockercni.cni import CacheEntry
from dockercni.kernel import everywhere, nftables
from dockercni.kernel.elements import Element
from dockercni.kernel.netlink import NetlinkError
from dockercni.kernel.nftables import NftablesError
from dockercni.model import IPAddress
from dockercni.plugins import layout, ruleset
from dockercni.reconcile import records
from dockercni.reconcile.rules import RulesError

KINDS: Final = (*ruleset.PORTS, *ruleset.SOURCES, *ruleset.TARGETS)


@dataclass(frozen=True, slots=True)
class Orphan:
    """The unexplained elements of one owner, who is named by a comment."""

    comment: str
    elements: tuple[Element, ...]

    @property
    def container_id(self) -> str:
        """The id of the container that it was made for."""
        return self.comment.partition(" ")[0]

    def __str__(self) -> str:
        ports = [layout.port_words(each) for each in self.elements if each.set in ruleset.PORTS]
        first = ports[0] if ports else f"address {ruleset.address(self.elements[0])}"
        more = f" and {len(self.elements) - 1} more" if len(self.elements) > 1 else ""
        return f"{first}{more} in table inet {layout.NAME} for {self.comment}"


def find(entries: Iterable[CacheEntry]) -> list[Orphan]:
    """What none of these records explains. A record stands before its first element does. Raises RulesError."""
    if not nftables.available():  # then nobody can have made any
        return []
    try:
        present = ruleset.owned(KINDS)
    except NetlinkError as error:
        raise RulesError(str(error)) from error
    explained = {_comment(entry) for entry in entries}
    found: dict[str, list[Element]] = {}
    for element in present:
        if element.comment not in explained:
            found.setdefault(element.comment, []).append(element)
    return [Orphan(comment, tuple(elements)) for comment, elements in found.items()]


def dead(orphans: Sequence[Orphan], entries: Iterable[CacheEntry]) -> set[Orphan]:
    """Those of which it is certain that they serve nobody. Raises RulesError where not all of the host can be seen."""
    if not orphans:
        return set()
    try:
        seen = everywhere.addresses()
    except OSError as error:
        raise RulesError(f"cannot look for addresses of containers: {error.strerror}") from error
    given: dict[IPAddress, list[CacheEntry]] = {}
    for entry in entries:
        for each in records.given(entry).ips:
            given.setdefault(each.address.ip, []).append(entry)
    return {
        orphan
        for orphan in orphans
        if all(
            (ip := ruleset.address(element))
            and (ip not in seen or any(_replaced(orphan.comment, entry) for entry in given.get(ip, ())))
            for element in orphan.elements
        )
    }


def remove(orphan: Orphan) -> None:
    """Take it out. Raises RulesError."""
    try:
        ruleset.remove(orphan.elements)
    except (NetlinkError, NftablesError) as error:
        raise RulesError(str(error)) from error


def _replaced(comment: str, entry: CacheEntry) -> bool:
    """Whether the entry is of the comment's network, and of another container."""
    container_id, _, rest = comment.partition(" ")
    ifname = rest.partition(" ")[0]
    same_network = ruleset.Owner(container_id, ifname, entry.network).comment == comment
    return same_network and entry.container_id != container_id


def _comment(entry: CacheEntry) -> str:
    return ruleset.Owner(entry.container_id, entry.ifname, entry.network).comment
