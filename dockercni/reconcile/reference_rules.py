"""The iptables rules that the reference plugins make for one attachment, by its record. Pure.

The plugins remove them at DEL only if they can still enter the namespace, and never repair them after a flush. So they
are known here (bridge and ptp with ipMasq, portmap, firewall; iptables backends).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final

from dockercni.cni import EXEC, CacheEntry, CNIError, Result, parse_list
from dockercni.model import IPNetwork
from dockercni.reconcile.ports import Place, places

IPTABLES: Final = {4: "iptables", 6: "ip6tables"}
MASQUERADE: Final = "masquerade"
PORTMAP: Final = "portmap"
FIREWALL: Final = "firewall"

_FORWARD: Final = "CNI-FORWARD"
_DNAT: Final = "CNI-HOSTPORT-DNAT"
_MARK: Final = "CNI-HOSTPORT-SETMARK"
_MASQ: Final = "CNI-HOSTPORT-MASQ"
_PORT: Final = re.compile(r"-p (\S+) .*--dport (\d+) .*-j (\S+)")
_PORTS: Final = re.compile(r"-p (\S+) .*--dports ([\d,]+) ")
_MULTICAST: Final = {4: "224.0.0.0/4", 6: "ff00::/8"}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All rules of one moment: for (command, table) the rules of each chain, as linux.iptables.saved returns them."""

    chains: Mapping[tuple[str, str], Mapping[str, Sequence[str]]]
    _jumps: dict[tuple[str, str], dict[str, list[tuple[str, str]]]] = field(default_factory=dict)

    def rules(self, command: str, table: str, chain: str) -> Sequence[str]:
        """The rules of a chain; none where it does not exist."""
        return self.chains.get((command, table), {}).get(chain, ())

    def jumps(self, command: str, table: str, target: str) -> Sequence[tuple[str, str]]:
        """The (chain, rule) that lead to `target`."""
        key = (command, table)
        if key not in self._jumps:
            index: dict[str, list[tuple[str, str]]] = {}
            for chain, rules in self.chains.get(key, {}).items():
                for rule in rules:
                    index.setdefault(rule.rpartition("-j ")[2].split(" ", 1)[0], []).append((chain, rule))
            self._jumps[key] = index
        return self._jumps[key].get(target, ())


@dataclass(frozen=True, slots=True)
class TableChange:
    """Lines for iptables-restore, for one table of one command."""

    command: str
    table: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReferenceRules:
    """The rules of one attachment: for each kind, the position of the plugin that makes it.

    `published` are the ports of the host that lead to it, `mark` is the chain by which portmap marks what has to be
    masqueraded, "" where it masquerades nothing.
    """

    network: str
    container_id: str
    result: Result
    kinds: Mapping[str, int]
    published: tuple[Place, ...] = ()
    mark: str = ""

    @property
    def _digest(self) -> str:
        return hashlib.sha512((self.network + self.container_id).encode()).hexdigest()

    @property
    def masquerade_chain(self) -> str:
        """The chain that bridge and ptp make; the interface is no part of its name."""
        return f"CNI-{self._digest[:24]}"

    @property
    def portmap_chain(self) -> str:
        """The chain that portmap makes."""
        return f"CNI-DN-{self._digest[:21]}"

    def missing(self, snapshot: Snapshot) -> list[str]:
        """The kinds of which the snapshot lacks something."""
        checks = {MASQUERADE: self._masquerades, PORTMAP: self._publishes, FIREWALL: self._accepts}
        return [kind for kind in self.kinds if not checks[kind](snapshot)]

    def _masquerades(self, snapshot: Snapshot) -> bool:
        return all(
            _spares(snapshot.rules(IPTABLES[ip.address.version], "nat", self.masquerade_chain), ip.address.network)
            for ip in self.result.ips
        ) and all(
            any(
                chain == "POSTROUTING" and f"-s {host} " in rule
                for chain, rule in snapshot.jumps(command, "nat", self.masquerade_chain)
            )
            for command, host in self._hosts()
        )

    def _publishes(self, snapshot: Snapshot) -> bool:
        """Whether each port has its rules: a flush can come in the middle of the plugin's ADD, and leave some."""
        return all(self._published(version, snapshot) for version in {ip.address.version for ip in self.result.ips})

    def _published(self, version: int, snapshot: Snapshot) -> bool:
        command = IPTABLES[version]
        mine = (place for place in self.published if ip_address(place.address).version == version)
        wanted = Counter((place.protocol, place.number) for place in mine)
        if not wanted:
            return True
        led: defaultdict[str, Counter[tuple[str, int]]] = defaultdict(Counter)
        for match in filter(None, map(_PORT.search, snapshot.rules(command, "nat", self.portmap_chain))):
            led[match[3]][match[1], int(match[2])] += 1
        jumps = [rule for at, rule in snapshot.jumps(command, "nat", self.portmap_chain) if at == _DNAT]
        reached = {
            (match[1], int(port)) for match in map(_PORTS.search, jumps) if match for port in match[2].split(",")
        }
        # one mark for the container's own subnet, and for IPv4 one for localhost
        marks = Counter({port: number * (2 if version == 4 else 1) for port, number in wanted.items()})
        return (
            wanted <= led["DNAT"]
            and wanted.keys() <= reached
            and (not self.mark or marks <= led[self.mark])
            and {"PREROUTING", "OUTPUT"} <= {chain for chain, _ in snapshot.jumps(command, "nat", _DNAT)}
            and (self.mark != _MARK or self._marks(command, snapshot))
        )

    def _marks(self, command: str, snapshot: Snapshot) -> bool:
        """Whether what is marked is masqueraded."""
        return (
            bool(snapshot.rules(command, "nat", _MARK))
            and bool(snapshot.rules(command, "nat", _MASQ))
            and any(chain == "POSTROUTING" for chain, _ in snapshot.jumps(command, "nat", _MASQ))
        )

    def _accepts(self, snapshot: Snapshot) -> bool:
        return all(
            any(chain == "FORWARD" for chain, _ in snapshot.jumps(command, "filter", _FORWARD))
            and any(f"-s {host} " in f"{rule} " for rule in snapshot.rules(command, "filter", _FORWARD))
            and any(f"-d {host} " in f"{rule} " for rule in snapshot.rules(command, "filter", _FORWARD))
            for command, host in self._hosts()
        )

    def masquerade(self, snapshot: Snapshot) -> Iterator[TableChange]:
        """What repairs the masquerade, in the form that bridge and ptp make."""
        comment = f'-m comment --comment "name: \\"{self.network}\\" id: \\"{self.container_id}\\""'
        chain = self.masquerade_chain
        for version, command in IPTABLES.items():
            ips = [ip.address for ip in self.result.ips if ip.address.version == version]
            present = {rule for at, rule in snapshot.jumps(command, "nat", chain) if at == "POSTROUTING"}
            jumps = [f"-s {address.ip}/{address.max_prefixlen} {comment} -j {chain}" for address in ips]
            if ips:
                lines = (
                    f":{chain} - [0:0]",  # with --noflush this creates the chain, or empties it
                    *(f"-A {chain} -d {address.network} {comment} -j ACCEPT" for address in ips),
                    f"-A {chain} ! -d {_MULTICAST[version]} {comment} -j MASQUERADE",
                    *(f"-A POSTROUTING {jump}" for jump in jumps if jump not in present),
                )
                yield TableChange(command, "nat", lines)

    def leftovers(self, snapshot: Snapshot, *, shared: bool) -> Iterator[TableChange]:
        """What removes all that exists of it. `shared`: the container has another attachment to this network.

        The firewall's rules carry no comment; they are known by the address, so this has to come before the address
        is given back.
        """
        for command in IPTABLES.values():
            hosts = [host for of, host in self._hosts() if of == command]
            forward = [
                f"-D {_FORWARD} {rule}"
                for rule in snapshot.rules(command, "filter", _FORWARD)
                if any(f"{way} {host} " in f"{rule} " for host in hosts for way in ("-s", "-d"))
            ]
            if forward:
                yield TableChange(command, "filter", tuple(forward))
            chains = [] if shared else [self.masquerade_chain, self.portmap_chain]
            present = [chain for chain in chains if chain in snapshot.chains.get((command, "nat"), {})]
            if present:
                jumps = [f"-D {at} {rule}" for to in present for at, rule in snapshot.jumps(command, "nat", to)]
                emptied = [f":{chain} - [0:0]" for chain in present]
                yield TableChange(command, "nat", (*emptied, *jumps, *(f"-X {chain}" for chain in present)))

    def _hosts(self) -> Iterator[tuple[str, str]]:
        for ip in self.result.ips:
            yield IPTABLES[ip.address.version], f"{ip.address.ip}/{ip.address.max_prefixlen}"


def _spares(rules: Sequence[str], network: IPNetwork) -> bool:
    """Whether a chain masquerades all but what stays in the subnet."""
    return any(f"-d {network} " in rule for rule in rules) and any("-j MASQUERADE" in rule for rule in rules)


def reference_rules(entry: CacheEntry) -> ReferenceRules | None:
    """The rules of a recorded attachment; None if no known executable left any."""
    try:
        plugins = parse_list(entry.config).plugins
        result = entry.attached
    except CNIError:
        return None
    kinds = {
        kind: position
        for position, plugin in enumerate(plugins)
        if position >= len(entry.served) or entry.served[position] == EXEC  # the backend may not be recorded
        if (kind := _kind(plugin.type, plugin.raw, entry.capability_args))
    }
    if not kinds:
        return None
    portmap = plugins[kinds[PORTMAP]].raw if PORTMAP in kinds else {}
    mark = "" if portmap.get("snat") is False else str(portmap.get("externalSetMarkChain") or _MARK)
    versions = {ip.address.version for ip in result.ips}
    published = tuple(dict.fromkeys(place for place, _ in places(entry.capability_args, versions)))
    return ReferenceRules(entry.network, entry.container_id, result, kinds, published, mark)


def _kind(plugin: str, conf: Mapping[str, Any], capability_args: Mapping[str, Any]) -> str:
    match plugin:
        case "bridge" | "ptp" if conf.get("ipMasq") and conf.get("ipMasqBackend") in {None, "", "iptables"}:
            return MASQUERADE
        case "portmap" if capability_args.get("portMappings") and conf.get("backend") in {None, "", "iptables"}:
            return PORTMAP
        case "firewall" if conf.get("backend") in {None, "", "iptables"}:
            return FIREWALL
    return ""
