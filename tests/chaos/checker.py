"""Whether a host is as it should be: what runs has its networks, and nothing else of theirs exists.

Reads kernel, files and engine only, and imports nothing of dockercni, so that no mistake can hide in both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos import damage, elements, facts, rules, traffic
from tests.chaos.facts import Running
from tests.chaos.rules import Attached
from tests.chaos.wanted import NETWORKS, SERVED, Network, Wanted

if TYPE_CHECKING:
    from tests.hosts import Host, Outside

NOTHING = Wanted(())


@dataclass(frozen=True)
class Neighbours:
    """What another runtime has on the same host; it has to stay as it is."""

    leases: Mapping[str, str] = field(default_factory=dict)
    entries: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    rules: tuple[rules.Rule, ...] = ()


def complaints(
    host: Host,
    outside: Outside,
    wanted: Mapping[str, Wanted],
    *,
    networks: Sequence[Network] = NETWORKS,
    neighbours: Neighbours = Neighbours(),
) -> list[str]:
    """One line for each thing that is missing, too much, or does not work; empty when all is well."""
    running = facts.running(host)
    return [
        *_interfaces(running, wanted, networks),
        *_leases(host, running, wanted, neighbours),
        *_entries(host, running, wanted, neighbours),
        *_pins(host, running, wanted, neighbours),
        *_links(host, running, wanted, networks, neighbours),
        *_rules(host, attached(host, running, wanted, networks), networks, neighbours),
        *(f"process: {line} still runs" for line in facts.plugin_processes(host)),
        *traffic.complaints(host, outside, running, wanted, networks),
    ]


def attached(
    host: Host, running: Sequence[Running], wanted: Mapping[str, Wanted], networks: Sequence[Network]
) -> list[Attached]:
    """The interfaces that there should be and are, each with the ports that lead to it."""
    by_name = {network.name: network for network in networks}
    entries = facts.cache_entries(host)
    found = []
    for one in running:
        want = wanted.get(one.name, NOTHING)
        for number, (ifname, network) in enumerate(want.interfaces.items()):
            if ifname in one.links and (addresses := one.addresses(ifname)):
                ports = () if number else want.ports
                served = entries.get(f"{network}-{one.id}-{ifname}", {}).get("dockercni", {}).get("served", ())
                found.append(Attached(by_name[network], one.id, ifname, addresses[0], ports, SERVED, tuple(served)))
    return found


def _interfaces(running: Sequence[Running], wanted: Mapping[str, Wanted], networks: Sequence[Network]) -> Iterator[str]:
    subnets = {network.name: network.subnet for network in networks}
    for one in running:
        interfaces = wanted.get(one.name, NOTHING).interfaces
        yield from _differ(f"interface of {one.name}", Counter([*interfaces]), Counter([*one.links]))
        for ifname in interfaces.keys() & one.links.keys():
            addresses = one.addresses(ifname)
            inside = [address for address in addresses if IPv4Address(address) in subnets[interfaces[ifname]]]
            if len(addresses) != 1 or not inside:
                yield f"address: {one.name} {ifname} on {interfaces[ifname]} has {addresses or 'none'}"
            if "UP" not in one.links[ifname]["flags"]:
                yield f"address: {one.name} {ifname} is down"
    taken = Counter(address for one in running for ifname in one.links for address in one.addresses(ifname))
    yield from (f"address: {address} is taken {times} times" for address, times in taken.items() if times > 1)


def _leases(
    host: Host, running: Sequence[Running], wanted: Mapping[str, Wanted], neighbours: Neighbours
) -> Iterator[str]:
    due = Counter(f"{lease} {owner}" for lease, owner in neighbours.leases.items())
    for one in running:
        for ifname, network in wanted.get(one.name, NOTHING).interfaces.items():
            addresses = one.addresses(ifname) if ifname in one.links else []
            due.update(f"{network}/{address} {one.id} {ifname}" for address in addresses)
    yield from _differ("lease", due, Counter(f"{lease} {owner}" for lease, owner in facts.leases(host).items()))


def _entries(
    host: Host, running: Sequence[Running], wanted: Mapping[str, Wanted], neighbours: Neighbours
) -> Iterator[str]:
    found = facts.cache_entries(host)
    due = Counter(neighbours.entries)
    for one in running:
        for ifname, network in wanted.get(one.name, NOTHING).interfaces.items():
            name = f"{network}-{one.id}-{ifname}"
            due[name] += 1
            if name not in found or ifname not in one.links:
                continue
            entry = found[name]
            recorded = [ip["address"].partition("/")[0] for ip in (entry.get("result") or {}).get("ips", ())]
            if recorded != one.addresses(ifname):
                yield f"cache entry: {name} records {recorded}, the kernel has {one.addresses(ifname)}"
            if entry.get("netns") != f"{facts.PINS}/dockercni-{one.id}":
                yield f"cache entry: {name} names the namespace {entry.get('netns')!r}"
    yield from _differ("cache entry", due, Counter([*found]))


def _pins(
    host: Host, running: Sequence[Running], wanted: Mapping[str, Wanted], neighbours: Neighbours
) -> Iterator[str]:
    found, mounts = facts.pins(host), facts.mounts(host)
    due = Counter(neighbours.pins)
    for one in running:
        name = f"dockercni-{one.id}"
        if wanted.get(one.name, NOTHING).networks:
            due[name] += 1
            if name in found and found[name] != facts.identity(Path(f"/proc/{one.pid}/ns/net")):
                yield f"pin: {name} is not the namespace of {one.name}"
    yield from _differ("pin", due, Counter([*found]))
    own = Counter({point: times for point, times in mounts.items() if not point.startswith("/run/docker/netns/")})
    yield from _differ("mount", Counter({f"{facts.PINS}/{name}": times for name, times in due.items()}), own)


def _links(
    host: Host,
    running: Sequence[Running],
    wanted: Mapping[str, Wanted],
    networks: Sequence[Network],
    neighbours: Neighbours,
) -> Iterator[str]:
    links = facts.host_links(host)
    bridges = {network.name: network.bridge for network in networks}
    spoken_for = set()
    for one in running:
        for ifname, network in wanted.get(one.name, NOTHING).interfaces.items():
            peer = links.get(one.links.get(ifname, {}).get("link_index", 0))
            if ifname in one.links and peer is None:
                yield f"link: the host's end of {one.name} {ifname} is missing"
            elif peer is not None:
                spoken_for.add(peer["ifindex"])
                if peer.get("master") != bridges[network]:
                    yield f"link: {peer['ifname']} of {one.name} is on {peer.get('master')}, not {bridges[network]}"
    lasting = {*bridges.values(), *neighbours.links}
    names = {link["ifname"] for link in links.values()}
    yield from (
        f"link: {name} too much" for index, name in _names(links) if index not in spoken_for and name not in lasting
    )
    yield from (f"link: {name} missing" for name in neighbours.links if name not in names)


def _names(links: Mapping[int, Mapping[str, str]]) -> list[tuple[int, str]]:
    return [(index, link["ifname"]) for index, link in links.items()]


def _rules(
    host: Host, present: Sequence[Attached], networks: Sequence[Network], neighbours: Neighbours
) -> Iterator[str]:
    saved = list(facts.saved_rules(host))
    due = Counter(rules.expected(present, saved))
    due.update([*elements.expected(present), *neighbours.rules, *damage.administrators(saved)])
    found = Counter([*(rule for rule in saved if rules.concerns(rule, networks)), *elements.found(host)])
    for rule in rules.LASTING:
        if 0 < found[rule] <= rules.RACING:
            due[rule] = found[rule]
    shown = (Counter({" ".join(rule): times for rule, times in rules.items()}) for rules in (due, found))
    yield from _differ("rule", *shown)
    yield from (f"rule: {table} too much" for table in facts.foreign_tables(host) if table != elements.TABLE)


def _differ(what: str, due: Counter[str], found: Counter[str]) -> Iterator[str]:
    for name in sorted(due.keys() | found.keys()):
        if (more := found[name] - due[name]) > 0:
            yield f"{what}: {name} too much{f' ({found[name]} times)' if due[name] or more > 1 else ''}"
        elif more < 0:
            yield f"{what}: {name} missing"
