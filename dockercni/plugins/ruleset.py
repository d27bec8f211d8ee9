"""Our one nftables table, `inet dockercni`: what the sets and maps hold, and the rules that look into them.

The rules never change. A container or port is an element, and which network it is in stands in the name of the chain
that its element jumps to; so neither a packet nor a change costs more with more containers. Every element's comment
names its owner.

Chains for networks stay when their last container goes, as the bridge does: nothing leads to them any more.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_network
from typing import TYPE_CHECKING, Any, Final

from dockercni.kernel import elements, nftables
from dockercni.kernel.elements import JUMP, Element, Table, Verdict
from dockercni.kernel.netlink import NetlinkError
from dockercni.kernel.nftables import NftablesError

if TYPE_CHECKING:
    from dockercni.plugins.contract import Request

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface

NAME: Final = "dockercni"
TABLE: Final = Table(NAME)

_PLAIN: Final = frozenset(range(0x21, 0x7F)) - frozenset(b'"%\\')  # what stands in a comment as it is
_LEAVING: Final = "leaving"  # chain prefixes
_RETURNING: Final = "returning"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose an element is: one attachment."""

    container_id: str
    ifname: str
    network: str

    @property
    def comment(self) -> str:
        """What stands in the elements' comments, cut to what nft can read.

        The kernel lets an interface have nearly any name; a quote in it would end the comment where nft reads it.
        """
        plain = (chr(byte) if byte in _PLAIN else f"%{byte:02x}" for byte in os.fsencode(self.ifname))
        return _comment(self.container_id, "".join(plain), self.network)


def _comment(container_id: str, ifname: str, network: str) -> str:
    return f"{container_id} {ifname} {network}"[: elements.COMMENT_LIMIT]


def owner(request: Request) -> Owner:
    """The attachment that a request is about."""
    return Owner(request.container_id, request.ifname, request.name)


def invalid(request: Request) -> Callable[[str], bool]:
    """What GC is to remove: tells of a comment that it names the request's network, and no valid attachment."""
    listed = request.fields.objects("cni.dev/valid-attachments")
    valid = {Owner(each.string("containerID"), each.string("ifname"), request.name).comment for each in listed}

    def unwanted(comment: str) -> bool:
        container_id, _, rest = comment.partition(" ")
        return _comment(container_id, rest.partition(" ")[0], request.name) == comment and comment not in valid

    return unwanted


def source(address: Interface, owner: Owner) -> Element:
    """What comes from `address` and leaves its subnet gets the host's address."""
    return Element(f"sources{address.version}", address.ip.packed, _jump(_LEAVING, address), owner.comment)


def target(address: Interface, owner: Owner) -> Element:
    """What was redirected to `address` from its own subnet or the host's loopback gets the host's address.

    The answers would not come back through the host otherwise.
    """
    return Element(f"targets{address.version}", address.ip.packed, _jump(_RETURNING, address), owner.comment)


def port(protocol: str, number: int, to: Address, to_port: int, owner: Owner, host: Address | None = None) -> Element:
    """What comes to port `number` of any address of the host, or of `host` only, is redirected.

    Raises KeyError for a protocol without ports.
    """
    key = bytes([PROTOCOLS[protocol], 0, 0, 0]) + _service(number)
    data = to.packed + _service(to_port)
    if host is None:
        return Element(f"ports{to.version}", key, data, owner.comment)
    return Element(f"addressed{to.version}", host.packed + key, data, owner.comment)


def bridge(name: str, *, isolated: bool) -> list[Element]:
    """What comes from another bridge of that kind does not get to this one; nor, if `isolated`, between its ports."""
    packed = name.encode().ljust(16, b"\0")
    inner = Verdict(elements.DROP if isolated else elements.RETURN)
    return [Element("bridges", packed, comment=name), Element("within", packed * 2, inner, comment=name)]


class Taken(Exception):
    """A port is published by somebody else already; `element` is theirs."""

    def __init__(self, element: Element) -> None:
        super().__init__(f"already published: {describe(element)}")
        self.element = element


def add(wanted: Sequence[Element]) -> None:
    """See to it that the table has exactly these elements under these keys, of which each occurs once.

    An address has one owner: what somebody left under its key is replaced. Makes the table and the chains on the way.
    Raises Taken for a port that somebody else has, NetlinkError, NftablesError.
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
    """Those of `wanted` that the table does not have just so. Raises NetlinkError."""
    present = TABLE.find(wanted)
    return [element for element in wanted if element not in present]


def remove(unwanted: Sequence[Element]) -> None:
    """Take out those of `unwanted` that are there and have the same owner. Raises NetlinkError."""
    owners = {(element.set, element.key): element.comment for element in unwanted}
    _delete([found for found in TABLE.find(unwanted) if found.comment == owners[found.set, found.key]])


def remove_owned(sets: Iterable[str], unwanted: Callable[[str], bool]) -> None:
    """Take out every element of `sets` whose comment is `unwanted`. Costs time for each element that is there.

    Raises NetlinkError.
    """
    _delete([element for name in sets for element in _every(name) if unwanted(element.comment)])


def exists() -> bool:
    """Whether the table is there at all; elements are added to one that is not by making it."""
    try:
        return bool(nftables.listing(f"list chain inet {NAME} publish"))
    except NftablesError:
        return False


def whole() -> bool:
    """Whether the table has all of its rules: its sets and maps outlive `nft flush table`."""
    try:
        return all(
            sum("rule" in line for line in nftables.listing(f"list chain inet {NAME} {chain}")) >= len(rules)
            for chain, (_, rules) in _RULES.items()
        )
    except NftablesError:
        return False


def mend() -> None:
    """Give the chains their rules again, in one transaction; the elements stay. Raises NftablesError."""
    chains = [line["chain"]["name"] for line in nftables.listing("list chains inet") if _is_ours(line.get("chain"))]
    lines = [f"flush chain inet {NAME} {chain}" for chain in chains]
    lines += [line for line in _rules() if line.startswith("add rule")]
    for name in chains:
        if name.startswith((f"{_LEAVING}-", f"{_RETURNING}-")):
            lines += [line for line in _chain(name).splitlines() if line.startswith("add rule")]
    nftables.apply("\n".join(lines))


def _is_ours(chain: Any) -> bool:
    return bool(chain) and chain["table"] == NAME


def restore(wanted: Sequence[Element]) -> None:
    """Bring the table to exactly this content in one transaction, whatever is there now. Raises NftablesError."""
    lines = [f"add table inet {NAME}", f"delete table inet {NAME}", _SKELETON, *_chains(wanted)]
    lines += [f"add element inet {NAME} {element.set} {{ {describe(element)} }}" for element in wanted]
    nftables.apply("\n".join(lines))


def describe(element: Element) -> str:
    """An element in nft's words."""
    key_types, data_types = SETS[element.set]
    key = f'{_words(key_types, element.key)} comment "{element.comment}"'
    if isinstance(element.data, Verdict):
        names = {elements.DROP: "drop", elements.RETURN: "return", JUMP: f"jump {element.data.chain}"}
        return f"{key} : {names[element.data.code]}"
    return key if element.data is None else f"{key} : {_words(data_types, element.data)}"


def _every(name: str) -> list[Element]:
    try:
        return TABLE.every(name)
    except NetlinkError as error:
        if error.errno == errno.ENOENT:  # no table, no elements
            return []
        raise


def _delete(found: Sequence[Element]) -> None:
    try:
        TABLE.change(delete=found)
    except NetlinkError as error:
        if error.errno != errno.ENOENT:
            raise
        for element in TABLE.find(found):  # somebody else was faster with some of them
            try:
                TABLE.change(delete=[element])
            except NetlinkError as again:
                if again.errno != errno.ENOENT:
                    raise


def _build(wanted: Sequence[Element]) -> None:
    """Make the table and the chains that `wanted` needs, as far as they are not there."""
    for ruleset in (_SKELETON, *_chains(wanted)):
        try:
            nftables.apply(ruleset)
        except NftablesError as error:
            if not error.exists:
                raise


def _jump(kind: str, address: Interface) -> Verdict:
    return Verdict(JUMP, f"{kind}-{str(address.network).replace(':', '_')}")


def _chains(wanted: Iterable[Element]) -> list[str]:
    names = {element.data.chain for element in wanted if isinstance(element.data, Verdict) and element.data.chain}
    return [_chain(name) for name in sorted(names)]


def _chain(name: str) -> str:
    """The definition of a network's chain, which follows from its name. The creation fails if it exists."""
    kind, _, subnet = name.partition("-")
    network = ip_network(subnet.replace("_", ":"))
    family, multicast = ("ip", "224.0.0.0/4") if network.version == 4 else ("ip6", "ff00::/8")
    if kind == _LEAVING:
        rules = [f"{family} daddr {network} return", f"{family} daddr {multicast} return", "masquerade"]
    else:
        rules = [f"{family} saddr {network} masquerade"]
        if network.version == 4:
            rules.append("ip saddr 127.0.0.0/8 masquerade")
    lines = [f"create chain inet {NAME} {name}", *(f"add rule inet {NAME} {name} {rule}" for rule in rules)]
    return "\n".join(lines)


def _service(number: int) -> bytes:
    return number.to_bytes(2, "big") + b"\0\0"


def _words(types: Sequence[str], packed: bytes) -> str:
    words = []
    for each in types:
        size, read = _TYPES[each]
        words.append(read(packed[:size]))
        packed = packed[size:]
    return " . ".join(words)


PROTOCOLS: Final = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}

_TYPES: Final[dict[str, tuple[int, Callable[[bytes], str]]]] = {
    "ipv4_addr": (4, lambda raw: str(IPv4Address(raw))),
    "ipv6_addr": (16, lambda raw: str(IPv6Address(raw))),
    "inet_proto": (4, lambda raw: str(raw[0])),
    "inet_service": (4, lambda raw: str(int.from_bytes(raw[:2], "big"))),
    "ifname": (16, lambda raw: '"' + raw.rstrip(b"\0").decode() + '"'),
}

SOURCES: Final = ("sources4", "sources6")
TARGETS: Final = ("targets4", "targets6")
BRIDGES: Final = ("bridges", "within")
PORTS: Final = ("ports4", "ports6", "addressed4", "addressed6")

_VERDICT: Final = ("verdict",)
_PORT: Final = ("inet_proto", "inet_service")
SETS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "sources4": (("ipv4_addr",), _VERDICT),
    "sources6": (("ipv6_addr",), _VERDICT),
    "targets4": (("ipv4_addr",), _VERDICT),
    "targets6": (("ipv6_addr",), _VERDICT),
    "ports4": (_PORT, ("ipv4_addr", "inet_service")),
    "ports6": (_PORT, ("ipv6_addr", "inet_service")),
    "addressed4": (("ipv4_addr", *_PORT), ("ipv4_addr", "inet_service")),
    "addressed6": (("ipv6_addr", *_PORT), ("ipv6_addr", "inet_service")),
    "bridges": (("ifname",), ()),
    "within": (("ifname", "ifname"), _VERDICT),
}
"""Each set or map, with the types of its key and of its data."""


def _declaration(name: str) -> str:
    key, data = SETS[name]
    kind = f"{' . '.join(key)} : {' . '.join(data)}" if data else " . ".join(key)
    return f"add {'map' if data else 'set'} inet {NAME} {name} {{ type {kind}; }}"


# Numbers stand for priorities where nft 1.0.6 does not take the names in this place: dstnat is -100, srcnat 100.
_RULES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "publish": (
        "",
        (
            "fib daddr type != local return",
            "dnat ip to ip daddr . meta l4proto . th dport map @addressed4",
            "dnat ip6 to ip6 daddr . meta l4proto . th dport map @addressed6",
            "dnat ip to meta l4proto . th dport map @ports4",
            "dnat ip6 to meta l4proto . th dport map @ports6",
        ),
    ),
    "prerouting": ("type nat hook prerouting priority -100", ("jump publish",)),
    "output": ("type nat hook output priority -100", ("jump publish",)),
    "postrouting": (
        "type nat hook postrouting priority 100",
        (
            "ct status dnat ip daddr vmap @targets4",
            "ct status dnat ip6 daddr vmap @targets6",
            "ip saddr vmap @sources4",
            "ip6 saddr vmap @sources6",
        ),
    ),
    # route_localnet, which ports on 127.0.0.1 need, lets containers reach what listens on the host's loopback
    "input": ("type filter hook input priority 0", ('iifname != "lo" ip daddr 127.0.0.0/8 ct status ! dnat drop',)),
    "forward": (
        "type filter hook forward priority 0",
        ("iifname . oifname vmap @within", "iifname @bridges oifname @bridges drop"),
    ),
}


def _rules() -> list[str]:
    lines = []
    for chain, (hook, rules) in _RULES.items():
        lines.append(f"add chain inet {NAME} {chain} {{ {hook}; }}" if hook else f"add chain inet {NAME} {chain}")
        lines += [f"add rule inet {NAME} {chain} {rule}" for rule in rules]
    return lines


# "create": of two that begin at once, one fails as a whole
_SKELETON: Final = "\n".join([f"create table inet {NAME}", *map(_declaration, SETS), *_rules()])
