"""The rules that the reference plugins make (iptables backend) for what is attached: exactly these, each once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.wanted import Network

NAT, FILTER = "iptables nat", "iptables filter"
_OWN, _APART = "DOCKERCNI-FORWARD", "DOCKERCNI-ISOLATION"
_ADMIN = '-m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN'
Rule = tuple[str, str]
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_SHARED = {
    (NAT, ":CNI-HOSTPORT-DNAT"),
    (NAT, ":CNI-HOSTPORT-MASQ"),
    (NAT, ":CNI-HOSTPORT-SETMARK"),
    (NAT, "-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT"),
    (NAT, "-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT"),
    (NAT, '-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ'),
    (NAT, "-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE"),
    (
        NAT,
        '-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000',
    ),
}
_FORWARD = {
    (FILTER, ":CNI-FORWARD"),
    (FILTER, ":CNI-ADMIN"),
    (FILTER, '-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD'),
    (FILTER, f"-A CNI-FORWARD {_ADMIN}"),
}
LASTING = frozenset(_SHARED | _FORWARD)  # the plugins leave these behind, and may
MULTIPORT = 15  # ports that one rule of iptables can list
RACING = 8  # times that each of them may be there: plugins that start at the same moment add it without a look


@dataclass(frozen=True)
class Attached:
    """One interface of one running container, as it should be and as its address shows."""

    network: Network
    id: str
    ifname: str
    address: str
    ports: tuple[int, ...]
    inner: int  # the port that each of them leads to
    served: tuple[str, ...] = ()  # what served bridge, portmap and firewall, by the record of it

    def by_executable(self, position: int) -> bool:
        """Whether it was an executable."""
        return self.served[position : position + 1] != ("native",)  # what files call built-in, since 0.1.0


def expected(attached: Sequence[Attached], saved: Sequence[Rule]) -> Iterator[Rule]:
    """Every rule that has to be there beside those that are `saved`."""
    for one in attached:
        if one.by_executable(0):
            yield from _masquerade(one)
        if one.by_executable(1):
            yield from _published(one)
        if one.by_executable(2):
            yield FILTER, f"-A CNI-FORWARD -d {one.address}/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
            yield FILTER, f"-A CNI-FORWARD -s {one.address}/32 -j ACCEPT"
    if any(one.by_executable(2) for one in attached):
        yield from _FORWARD
    if any(one.ports and one.by_executable(1) for one in attached):
        yield from _SHARED
    if bridges := sorted({one.network.bridge for one in attached}):
        for table in (FILTER, f"ip6{FILTER[2:]}"):
            admin = f"-A CNI-FORWARD {_ADMIN}"
            jumps = [f"-A {_OWN} {_ADMIN}"] if (table, admin) in saved else []
            yield from ((table, line) for line in [*jumps, *_passing(bridges)])


def _passing(bridges: Sequence[str]) -> Iterator[str]:
    """What lets the traffic of the bridges in use pass, and keeps them from each other and from Docker's bridge."""
    known = "-m conntrack --ctstate RELATED,ESTABLISHED,DNAT"
    yield from (f":{_OWN}", f":{_APART}", f"-A FORWARD -j {_OWN}")
    for bridge in bridges:
        mark = f'-m comment --comment "dockercni:{bridge}" -j ACCEPT'
        yield f"-A {_OWN} -o {bridge} {known} {mark}"
        yield f"-A {_OWN} -i {bridge} {known} -j ACCEPT"
        yield f"-A {_OWN} -i {bridge} -o {bridge} -j ACCEPT"
        yield f"-A {_OWN} -i {bridge} -j {_APART}"
        yield f"-A {_OWN} -i {bridge} {mark}"
        yield f"-A {_APART} -o {bridge} -j DROP"
    yield f"-A {_OWN} -i docker0 -j {_APART}"
    yield f"-A {_APART} -i docker0 -j RETURN"
    yield f"-A {_APART} -o docker0 -j DROP"


def _masquerade(one: Attached) -> Iterator[Rule]:
    chain = f"CNI-{_hash(one)[:24]}"
    comment = _comment(f'name: \\"{one.network.name}\\" id: \\"{one.id}\\"')
    yield NAT, f":{chain}"
    yield NAT, f"-A POSTROUTING -s {one.address}/32 {comment} -j {chain}"
    yield NAT, f"-A {chain} -d {one.network.subnet} {comment} -j ACCEPT"
    yield NAT, f"-A {chain} ! -d 224.0.0.0/4 {comment} -j MASQUERADE"


def _published(one: Attached) -> Iterator[Rule]:
    if not one.ports:
        return
    chain = f"CNI-DN-{_hash(one)[:21]}"
    comment = _comment(f'dnat name: \\"{one.network.name}\\" id: \\"{one.id}\\"')
    ports = sorted(one.ports)
    yield NAT, f":{chain}"
    for some in (ports[start : start + MULTIPORT] for start in range(0, len(ports), MULTIPORT)):
        listed = ",".join(map(str, some))
        yield NAT, f"-A CNI-HOSTPORT-DNAT -p tcp {comment} -m multiport --dports {listed} -j {chain}"
    for port in one.ports:
        tcp = f"-p tcp -m tcp --dport {port}"
        yield NAT, f"-A {chain} -s {one.network.subnet} {tcp} -j CNI-HOSTPORT-SETMARK"
        yield NAT, f"-A {chain} -s 127.0.0.1/32 {tcp} -j CNI-HOSTPORT-SETMARK"
        yield NAT, f"-A {chain} {tcp} -j DNAT --to-destination {one.address}:{one.inner}"


def concerns(rule: Rule, networks: Sequence[Network]) -> bool:
    """Whether a rule is about CNI or its networks, and not the engine's own."""
    _, line = rule
    if "CNI-" in line or "dockercni" in line:
        return True
    if line.startswith("-A DOCKER-USER "):
        return line != "-A DOCKER-USER -j RETURN"
    found = [IPv4Address(text) for text in _ADDRESS.findall(line)]
    return any(address in network.subnet for address in found for network in networks)


def _hash(one: Attached) -> str:
    return hashlib.sha512(f"{one.network.name}{one.id}".encode()).hexdigest()


def _comment(text: str) -> str:
    return f'-m comment --comment "{text}"'
