"""Our nftables table: its elements (made, added, found, removed), and its rules, which are repaired after a flush.

Each subnet has sets of its own (see `layout`), so neither a packet nor a change costs more with more containers. Every
element's comment names its owner. Sets stay when their last container goes, as the bridge does.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import TYPE_CHECKING, Any, Final

from dockercni.linux import nft, nft_elements
from dockercni.linux.netlink import NetlinkError
from dockercni.linux.nft import NftablesError
from dockercni.linux.nft_elements import Element, Table, Verdict
from dockercni.plugins import layout
from dockercni.plugins.layout import LEAVING, NAME, PROTOCOLS, RETURNING

if TYPE_CHECKING:
    from dockercni.plugins.contract import Request

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface

TABLE: Final = Table(NAME)
SOURCES: Final = (LEAVING,)
TARGETS: Final = (RETURNING,)
BRIDGES: Final = ("bridges", "within")
PORTS: Final = ("ports4", "ports6", "addressed4", "addressed6")

_EARLIER: Final = ("sources4", "sources6", "targets4", "targets6")
_TRIES: Final = 10  # of a change that fails because of another process's change
_PLAIN: Final = frozenset(range(0x21, 0x7F)) - frozenset(b'"%\\')  # what stands in a comment as it is


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of an element: one attachment."""

    container_id: str
    ifname: str
    network: str

    @property
    def comment(self) -> str:
        """The comment of its elements, cut to the length that nft can read.

        An interface may have nearly any name. A quote in it would end the comment when nft reads it, so it is escaped.
        """
        return _comment_of(self)


@lru_cache(maxsize=16)  # each of an attachment's elements asks
def _comment_of(owner: Owner) -> str:
    plain = (chr(byte) if byte in _PLAIN else f"%{byte:02x}" for byte in os.fsencode(owner.ifname))
    return _comment(owner.container_id, "".join(plain), owner.network)


def _comment(container_id: str, ifname: str, network: str) -> str:
    return f"{container_id} {ifname} {network}"[: nft_elements.COMMENT_LIMIT]


def owner(request: Request) -> Owner:
    """The attachment of a request."""
    return Owner(request.container_id, request.ifname, request.name)


def invalid(request: Request) -> Callable[[str], bool]:
    """What GC removes: whether a comment names the request's network, and none of its valid attachments."""
    listed = request.fields.objects("cni.dev/valid-attachments")
    valid = {Owner(each.string("containerID"), each.string("ifname"), request.name).comment for each in listed}
    return lambda comment: names(comment, request.name) and comment not in valid


def names(comment: str, network: str) -> bool:
    """Whether a comment names an attachment of that network. If it was cut, several networks may match."""
    container_id, _, rest = comment.partition(" ")
    return _comment(container_id, rest.partition(" ")[0], network) == comment


def address(element: Element) -> Address | None:
    """The container's address in an element; None for an element about a bridge."""
    if element.set in PORTS and isinstance(element.data, bytes):
        packed = element.data
    elif layout.kind_of(element.set) in {LEAVING, RETURNING}:
        packed = element.key
    else:
        return None
    return IPv4Address(packed[:4]) if layout.version(element.set) == 4 else IPv6Address(packed[:16])


def source(address: Interface, owner: Owner) -> Element:
    """Packets from `address` that leave its subnet get the host's address."""
    return Element(layout.set_of(LEAVING, address.network), address.ip.packed, comment=owner.comment)


def target(address: Interface, owner: Owner) -> Element:
    """Packets redirected to `address` from its own subnet or the host's loopback get the host's address.

    Otherwise the answers would not come back through the host.
    """
    return Element(layout.set_of(RETURNING, address.network), address.ip.packed, comment=owner.comment)


def port(protocol: str, number: int, to: Address, to_port: int, owner: Owner, host: Address | None = None) -> Element:
    """Packets to port `number` of any address of the host, or only of `host`, are redirected.

    Raises KeyError for a protocol without ports.
    """
    key = bytes([PROTOCOLS[protocol], 0, 0, 0]) + layout.service(number)
    data = to.packed + layout.service(to_port)
    if host is None:
        return Element(f"ports{to.version}", key, data, owner.comment)
    return Element(f"addressed{to.version}", host.packed + key, data, owner.comment)


def bridge(name: str, *, isolated: bool) -> list[Element]:
    """Packets from another bridge of this kind are dropped; if `isolated`, also those between this bridge's ports."""
    packed = name.encode().ljust(16, b"\0")
    inner = Verdict(nft_elements.DROP if isolated else nft_elements.RETURN)
    return [Element("bridges", packed, comment=name), Element("within", packed * 2, inner, comment=name)]


class Taken(Exception):
    """Another attachment publishes the port already; `element` is its element."""

    def __init__(self, element: Element) -> None:
        super().__init__(f"{layout.port_words(element)} already")
        self.element = element


def add(wanted: Sequence[Element]) -> None:
    """Add these elements, whose keys are all different. Makes the table and its sets if they are missing.

    An address has one owner, so a stale element with its key is replaced. Raises Taken for a port that another
    attachment has, NetlinkError, NftablesError.
    """
    if not wanted:
        return
    try:
        TABLE.change(add=wanted)
    except NetlinkError as error:
        if error.errno == errno.ENOENT:
            _build(wanted)
        elif error.errno not in {errno.EEXIST, errno.EBUSY}:
            raise
        present = TABLE.find(wanted)
        owners = {(element.set, element.key): element.comment for element in wanted}
        for found in present:
            if found.set in PORTS and found.comment != owners[found.set, found.key]:
                raise Taken(found) from error
        TABLE.change(delete=present, add=wanted)


def missing(wanted: Sequence[Element]) -> list[Element]:
    """Those of `wanted` that the table does not have exactly. Raises NetlinkError, NftablesError."""
    present = frozenset(_find(wanted))  # a set, because thousands of ports are looked up
    return [element for element in wanted if element not in present]


def remove(unwanted: Sequence[Element]) -> None:
    """Remove those of `unwanted` that exist with the same owner. Raises NetlinkError, NftablesError."""
    owners = {(element.set, element.key): element.comment for element in unwanted}
    _delete([found for found in _find(unwanted) if found.comment == owners[found.set, found.key]])


def remove_owned(kinds: Iterable[str], unwanted: Callable[[str], bool]) -> None:
    """Remove every element of those `kinds` of sets whose comment is `unwanted`. Costs time for each element there is.

    Raises NetlinkError, NftablesError.
    """
    carry_over()
    _delete([element for element in owned(kinds) if unwanted(element.comment)])


def remove_stale(kinds: Iterable[str], unwanted: Callable[[str], bool]) -> None:
    """The same, except elements whose address is in use: GC lists the attachments of one runtime, not of all.

    Raises NetlinkError, NftablesError, OSError.
    """
    carry_over()
    found = [element for element in owned(kinds) if unwanted(element.comment)]
    if found:
        from dockercni.linux import netns_state  # noqa: PLC0415  rarely used, and slow to import at a cold start

        used = netns_state.addresses_everywhere()
        _delete([element for element in found if address(element) not in used])


def owned(kinds: Iterable[str]) -> list[Element]:
    """Every element of those kinds of sets. Costs time for each. Raises NetlinkError."""
    wanted = set(kinds)
    listed = (element for name in TABLE.sets() if layout.kind_of(name) in wanted for element in _every(name))
    return list(dict.fromkeys(listed))  # a listing during changes may show one twice


def _every(name: str) -> list[Element]:
    try:
        return TABLE.every(name)
    except NetlinkError as error:
        if error.errno == errno.ENOENT:  # no table, no elements
            return []
        raise


def _delete(found: Sequence[Element]) -> None:
    for left in reversed(range(_TRIES)):
        try:
            TABLE.change(delete=found)
            break
        except NetlinkError as error:
            if error.errno != errno.ENOENT or not left:
                raise
            found = TABLE.find(found)  # another process removed some of them first


def _build(wanted: Sequence[Element]) -> None:
    """Make the table, and the subnets' sets that `wanted` needs, where they are missing."""
    carry_over()
    needed = subnets(sorted({element.set for element in wanted}))
    for ruleset in (layout.skeleton(), *map(layout.subnet, needed)):
        try:
            nft.apply(ruleset)
        except NftablesError as error:
            if not error.exists:
                raise


def _find(wanted: Sequence[Element]) -> list[Element]:
    found = TABLE.find(wanted)
    return TABLE.find(wanted) if len(found) < len(wanted) and carry_over() else found


def exists() -> bool:
    """Whether the table exists. (`add` makes it.)"""
    return bool(TABLE.sets())


def whole() -> bool:
    """Whether the table has all of its rules: its sets and maps outlive `nft flush table`. Raises NetlinkError."""
    wanted = {chain: len(each) for chain, (_, each) in layout.CHAINS.items()}
    for name in subnets(TABLE.sets()):
        wanted[layout.kind_of(name)] += len(layout.rules_of(name))
    present = TABLE.rules()
    return all(present[chain] >= number for chain, number in wanted.items())


def refuse_loopback() -> None:
    """Add the rules that refuse redirected connections to ::1, if missing. Raises NetlinkError, NftablesError."""
    chain, _, refusals = layout.REFUSING
    if TABLE.rules()[chain] >= len(refusals):
        return
    try:
        nft.apply(layout.skeleton())
    except NftablesError as error:
        if not error.exists:
            raise
    nft.apply(layout.refusing())


def repair() -> None:
    """Write all rules again, in one transaction; the elements stay. Raises NetlinkError, NftablesError."""
    carry_over()
    lines = layout.chains()
    for name in subnets(TABLE.sets()):
        lines += [f"add rule inet {NAME} {layout.kind_of(name)} {rule}" for rule in layout.rules_of(name)]
    nft.apply("\n".join(lines))


def carry_over() -> bool:
    """Convert a table of the earlier layout, in one transaction; False if there is none.

    There, elements jumped to a chain for each subnet, with the name that the subnet's set has now. Because of the
    transaction, every packet meets one of the two layouts. Raises NetlinkError, NftablesError.
    """
    present = TABLE.sets()
    if _EARLIER[0] not in present:
        return False
    moved = [here for name in _EARLIER for each in TABLE.every(name) if (here := _moved(each))]
    lines = layout.chains()
    lines += [layout.subnet(name) for name in sorted({element.set for element in moved})]
    lines += [f"add element inet {NAME} {element.set} {{ {layout.describe(element)} }}" for element in moved]
    lines += [f"delete map inet {NAME} {name}" for name in _EARLIER]
    chains = [line["chain"]["name"] for line in nft.listing("list chains inet") if _is_ours(line.get("chain"))]
    for chain in subnets(chains):
        lines += [f"flush chain inet {NAME} {chain}", f"delete chain inet {NAME} {chain}"]
    try:
        nft.apply("\n".join(lines))
    except NftablesError:
        if _EARLIER[0] in TABLE.sets():  # else another process has converted it
            raise
    return True


def subnets(names: list[str]) -> list[str]:
    """Those of the names that belong to subnets."""
    return [name for name in names if name.startswith((f"{LEAVING}-", f"{RETURNING}-"))]


def _moved(element: Element) -> Element | None:
    if not isinstance(element.data, Verdict) or not element.data.chain:
        return None
    return replace(element, set=element.data.chain, data=None)


def _is_ours(chain: Any) -> bool:
    return bool(chain) and chain["table"] == NAME
