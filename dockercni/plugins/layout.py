"""The layout of our one nftables table, `inet dockercni`: sets and maps, chains, and the rules that use them.

There are rules for the host and for each subnet; a container or port is an element. No element has a jump as its
verdict, because at each change the kernel would walk through all elements and the chains that they jump to.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from dockercni.linux import nft_elements
from dockercni.linux.nft_elements import Element, Verdict

NAME: Final = "dockercni"
LEAVING: Final = "leaving"  # the prefix of the subnets' sets, and the chain with their rules
RETURNING: Final = "returning"

PROTOCOLS: Final = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}

_MULTICAST: Final = {4: "224.0.0.0/4", 6: "ff00::/8"}
_FAMILY: Final = {4: "ip", 6: "ip6"}
_ADDRESS: Final = {4: "ipv4_addr", 6: "ipv6_addr"}

_PORT: Final = ("inet_proto", "inet_service")
_SETS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "ports4": (_PORT, ("ipv4_addr", "inet_service")),
    "ports6": (_PORT, ("ipv6_addr", "inet_service")),
    "addressed4": (("ipv4_addr", *_PORT), ("ipv4_addr", "inet_service")),
    "addressed6": (("ipv6_addr", *_PORT), ("ipv6_addr", "inet_service")),
    "bridges": (("ifname",), ()),
    "within": (("ifname", "ifname"), ("verdict",)),
}
"""Each set or map that exists once, with the types of its key and of its data."""

# Numbers stand for priorities where nft 1.0.6 does not take the names in this place: dstnat is -100, srcnat 100.
CHAINS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "publish": (
        "",
        (
            "fib daddr type != local return",
            "ip6 daddr ::1 return",  # nothing from ::1 is routed to a container: the client would wait for ever
            "dnat ip to ip daddr . meta l4proto . th dport map @addressed4",
            "dnat ip6 to ip6 daddr . meta l4proto . th dport map @addressed6",
            "dnat ip to meta l4proto . th dport map @ports4",
            "dnat ip6 to meta l4proto . th dport map @ports6",
        ),
    ),
    LEAVING: ("", ()),
    RETURNING: ("", ()),
    "prerouting": ("type nat hook prerouting priority -100", ("jump publish",)),
    "output": ("type nat hook output priority -100", ("jump publish",)),
    "postrouting": (
        "type nat hook postrouting priority 100",
        (f"ct status dnat jump {RETURNING}", f"jump {LEAVING}"),
    ),
    # Ports on 127.0.0.1 need route_localnet, which also lets containers reach the host's loopback. This closes it.
    "input": ("type filter hook input priority 0", ('iifname != "lo" ip daddr 127.0.0.0/8 ct status ! dnat drop',)),
    "forward": (
        "type filter hook forward priority 0",
        ("iifname . oifname vmap @within", "iifname @bridges oifname @bridges drop"),
    ),
}
"""Each chain with its hook and its rules, without those of the subnets."""

REFUSING: Final = (
    "refusing",
    "type filter hook output priority 0",
    (
        "ip6 saddr ::1 fib daddr type != local meta l4proto tcp reject with tcp reset",
        "ip6 saddr ::1 fib daddr type != local reject",
    ),
)
"""A chain for the executables' portmap (see `assisted`). It only concerns redirected packets, as others stay local.

It is not in CHAINS, so that a kernel without `reject` still gets the others.
"""


def set_of(kind: str, network: IPv4Network | IPv6Network) -> str:
    """The set that holds the addresses of a subnet, of kind LEAVING or RETURNING."""
    return f"{kind}-{str(network).replace(':', '_')}"


def kind_of(name: str) -> str:
    """The kind of a set or map: LEAVING or RETURNING for those of subnets, else its name."""
    return name.partition("-")[0]


def version(name: str) -> int:
    """The IP version of the addresses in a set or map."""
    return int(name[-1]) if name in _SETS else _network(name).version


def rules_of(name: str) -> list[str]:
    """The rules for a subnet's set, derived from its name."""
    network = _network(name)
    family = _FAMILY[network.version]
    if kind_of(name) == LEAVING:
        away = f"{family} daddr != {network} {family} daddr != {_MULTICAST[network.version]}"
        return [f"{family} saddr @{name} {away} masquerade"]
    near = [str(network), "127.0.0.0/8"] if network.version == 4 else [str(network)]
    return [f"{family} daddr @{name} {family} saddr {source} masquerade" for source in near]


def subnet(name: str) -> str:
    """The definition of a subnet's set with its rules. Fails as a whole if it exists."""
    lines = [f"create set inet {NAME} {name} {{ type {_ADDRESS[_network(name).version]}; }}"]
    lines += [f"add rule inet {NAME} {kind_of(name)} {rule}" for rule in rules_of(name)]
    return "\n".join(lines)


def refusing() -> str:
    """The lines that make the chain REFUSING with exactly its rules."""
    chain, hook, rules = REFUSING
    place = f"inet {NAME} {chain}"
    lines = [
        f"add chain {place} {{ {hook}; }}",
        f"flush chain {place}",
        *(f"add rule {place} {rule}" for rule in rules),
    ]
    return "\n".join(lines)


def chains() -> list[str]:
    """The lines that make the missing chains, and give all chains exactly their own rules."""
    lines = [f"add chain inet {NAME} {chain} {{ {hook}; }}" if hook else f"add chain inet {NAME} {chain}"
             for chain, (hook, _) in CHAINS.items()]  # fmt: skip
    for chain, (_, rules) in CHAINS.items():
        lines.append(f"flush chain inet {NAME} {chain}")
        lines += [f"add rule inet {NAME} {chain} {rule}" for rule in rules]
    return lines


def skeleton() -> str:
    """The definition of the table without any subnet. Fails as a whole if it exists."""
    return "\n".join([f"create table inet {NAME}", *map(_declaration, _SETS), *chains()])


def describe(element: Element) -> str:
    """An element in nft's words."""
    key_types, data_types = _SETS.get(element.set) or ((_ADDRESS[_network(element.set).version],), ())
    key = f'{_words(key_types, element.key)} comment "{element.comment}"'
    if isinstance(element.data, Verdict):
        return f"{key} : {'drop' if element.data.code == nft_elements.DROP else 'return'}"
    return key if element.data is None else f"{key} : {_words(data_types, element.data)}"


def port_words(element: Element) -> str:
    """An element of a published port, in words: which port of the host leads where, and for which container."""
    size = {"addressed4": 4, "addressed6": 16}.get(element.set, 0)
    key, data = element.key[size:], element.data if isinstance(element.data, bytes) else b""
    protocol = next((name for name, number in PROTOCOLS.items() if number == key[0]), str(key[0]))
    to_size = 16 if element.set.endswith("6") else 4
    to, to_port = ip_address(data[:to_size]), int.from_bytes(data[to_size : to_size + 2], "big")
    target = f"[{to}]:{to_port}" if to.version == 6 else f"{to}:{to_port}"
    at = f"address {ip_address(element.key[:size])}" if size else "the host"
    container_id, _, rest = element.comment.partition(" ")
    ifname, _, network = rest.partition(" ")
    who = f"container {container_id[:12]} ({ifname} on network {network})"
    return f"port {int.from_bytes(key[4:6], 'big')}/{protocol} of {at} leads to {target} of {who}"


def service(number: int) -> bytes:
    """A port in a key or in data."""
    return number.to_bytes(2, "big") + b"\0\0"


def _network(name: str) -> IPv4Network | IPv6Network:
    return ip_network(name.partition("-")[2].replace("_", ":"))


def _declaration(name: str) -> str:
    key, data = _SETS[name]
    kind = f"{' . '.join(key)} : {' . '.join(data)}" if data else " . ".join(key)
    return f"add {'map' if data else 'set'} inet {NAME} {name} {{ type {kind}; }}"


def _words(types: Sequence[str], packed: bytes) -> str:
    words = []
    for each in types:
        size, read = _TYPES[each]
        words.append(read(packed[:size]))
        packed = packed[size:]
    return " . ".join(words)


_TYPES: Final[dict[str, tuple[int, Callable[[bytes], str]]]] = {
    "ipv4_addr": (4, lambda raw: str(IPv4Address(raw))),
    "ipv6_addr": (16, lambda raw: str(IPv6Address(raw))),
    "inet_proto": (4, lambda raw: str(raw[0])),
    "inet_service": (4, lambda raw: str(int.from_bytes(raw[:2], "big"))),
    "ifname": (16, lambda raw: '"' + raw.rstrip(b"\0").decode() + '"'),
}
