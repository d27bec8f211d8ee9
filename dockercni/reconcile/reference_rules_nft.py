"""The nftables rules that the reference plugins make for one attachment (from their version 1.5 on). Pure.

portmap has a table of its own for each IP version, whose rules bear the container's id; bridge and ptp share one, whose
rules bear a digest of network, interface and container. Neither comes back by itself after a flush: the ADD of portmap
adds rules without reading the existing ones, and that of bridge cannot be run again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from dockercni.cni import EXEC, CacheEntry, CNIError, Result, parse_list

MASQUERADE: Final = "masquerade in nftables"
PORTMAP: Final = "portmap in nftables"
TABLES: Final = (("inet", "cni_plugins_masquerade"), ("ip", "cni_hostport"), ("ip6", "cni_hostport"))

_MASQUERADE: Final = TABLES[0]
_PORTMAP: Final = {4: TABLES[1], 6: TABLES[2]}
_FAMILY: Final = {4: "ip", 6: "ip6"}
_ENTRANCES: Final = ("prerouting", "output")
_MAPPINGS: Final = ("hostports", "hostip_hostports")
_COMMENT_LIMIT: Final = 128
_ABOUT: Final = "Masquerading for plugins from github.com/containernetworking/plugins"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of one of TABLES, as nft lists it."""

    table: tuple[str, str]
    chain: str
    handle: int
    comment: str = ""

    @property
    def deletion(self) -> str:
        """The nft command that deletes it."""
        return f"delete rule {' '.join(self.table)} {self.chain} handle {self.handle}"


def rules(listing: Iterable[Mapping[str, Any]]) -> Iterator[Rule]:
    """The rules in what nft lists (libnftables-json(5))."""
    for entry in listing:
        if rule := entry.get("rule"):
            yield Rule((rule["family"], rule["table"]), rule["chain"], rule["handle"], rule.get("comment", ""))


@dataclass(frozen=True, slots=True)
class NftReferenceRules:
    """The rules of one attachment: for each kind, the position of the plugin that makes it.

    `mappings` are the host addresses of its ports, "" for any. `snat`: whether portmap masquerades.
    """

    network: str
    container_id: str
    ifname: str
    result: Result
    kinds: Mapping[str, int]
    mappings: tuple[str, ...] = ()
    snat: bool = True

    @property
    def digest(self) -> str:
        """What the comments of its masquerade rules begin with."""
        return f"{_hash(self.network)}-{_hash(f'{self.ifname}:{self.container_id}')}"

    def missing(self, present: Sequence[Rule]) -> list[str]:
        """The kinds of which something is not there."""
        checks = {MASQUERADE: self._masquerades, PORTMAP: self._publishes}
        return [kind for kind in self.kinds if not checks[kind](present)]

    def _masquerades(self, present: Sequence[Rule]) -> bool:
        table = [rule for rule in present if rule.table == _MASQUERADE]
        ours = [rule for rule in table if rule.chain == "masq_checks" and rule.comment.startswith(self.digest)]
        return len(ours) >= len(self.result.ips) and any(rule.chain == "postrouting" for rule in table)

    def _publishes(self, present: Sequence[Rule]) -> bool:
        return all(self._published(version, present) for version in {ip.address.version for ip in self.result.ips})

    def _published(self, version: int, present: Sequence[Rule]) -> bool:
        wanted = sum(_meant_for(version, host) for host in self.mappings)
        if not wanted:
            return True
        table = [rule for rule in present if rule.table == _PORTMAP[version]]
        ours = [rule.chain for rule in table if rule.comment == self.container_id]
        return (
            sum(ours.count(chain) for chain in _MAPPINGS) >= wanted
            and ("masquerading" in ours or not self.snat)
            and {rule.chain for rule in table}.issuperset(_ENTRANCES)
        )

    def masquerade(self, present: Sequence[Rule]) -> str:
        """The ruleset that repairs its masquerade, in the form that bridge and ptp make."""
        family, table = _MASQUERADE
        place = f"{family} {table}"
        names = (text.replace('"', "") for text in (self.network, self.ifname, self.container_id))
        comment = "{}, net: {}, if: {}, id: {}".format(self.digest, *names)[:_COMMENT_LIMIT]
        lines = [
            f'add table {place} {{ comment "{_ABOUT}"; }}',
            f"add chain {place} masq_checks",
            f"add chain {place} postrouting {{ type nat hook postrouting priority 100; }}",
            f"flush chain {place} postrouting",
            f"add rule {place} postrouting ip daddr 224.0.0.0/4 return",
            f"add rule {place} postrouting ip6 daddr ff00::/8 return",
            f"add rule {place} postrouting goto masq_checks",
            *(rule.deletion for rule in self._of_masquerade(present)),
        ]
        for ip in self.result.ips:
            inner = _FAMILY[ip.address.version]
            match = f"{inner} saddr {ip.address.ip} {inner} daddr != {ip.address.network}"
            lines.append(f'add rule {place} masq_checks {match} masquerade comment "{comment}"')
        return "\n".join(lines)

    def unpublished(self, present: Sequence[Rule]) -> str:
        """The ruleset that removes what is left of its ports, so that they can be published anew."""
        return "\n".join(rule.deletion for rule in self._of_portmap(present))

    def leftovers(self, present: Sequence[Rule], *, shared: bool) -> str:
        """The ruleset that removes all that exists of it. `shared`: see ReferenceRules.leftovers."""
        ports = [] if shared else list(self._of_portmap(present))
        return "\n".join(rule.deletion for rule in [*self._of_masquerade(present), *ports])

    def _of_masquerade(self, present: Sequence[Rule]) -> Iterator[Rule]:
        if MASQUERADE in self.kinds:
            yield from (rule for rule in present if rule.table == _MASQUERADE and rule.comment.startswith(self.digest))

    def _of_portmap(self, present: Sequence[Rule]) -> Iterator[Rule]:
        if PORTMAP in self.kinds:
            tables = _PORTMAP.values()
            yield from (rule for rule in present if rule.table in tables and rule.comment == self.container_id)


def nft_reference_rules(entry: CacheEntry) -> NftReferenceRules | None:
    """The rules of a recorded attachment; None if no known executable left any."""
    try:
        plugins = parse_list(entry.config).plugins
        result = entry.attached
    except CNIError:
        return None
    kinds: dict[str, int] = {}
    snat = True
    mappings = entry.capability_args.get("portMappings") or ()
    for position, plugin in enumerate(plugins):
        if position < len(entry.served) and entry.served[position] != EXEC:
            continue
        raw = plugin.raw
        if plugin.type in {"bridge", "ptp"} and raw.get("ipMasq") and raw.get("ipMasqBackend") == "nftables":
            kinds[MASQUERADE] = position
        elif plugin.type == "portmap" and mappings and raw.get("backend") == "nftables":
            kinds[PORTMAP] = position
            snat = raw.get("snat") is not False
    hosts = tuple(str(one.get("hostIP") or "") for one in mappings if isinstance(one, Mapping))
    key = (entry.network, entry.container_id, entry.ifname)
    return NftReferenceRules(*key, result, kinds, hosts, snat) if kinds else None


def _meant_for(version: int, host: str) -> bool:
    """Whether a port of that address of the host is published for an IP version."""
    try:
        return not host or ip_address(host).version == version
    except ValueError:  # the plugin has refused that address already
        return False


def _hash(text: str) -> str:
    return hashlib.sha512(text.encode()).hexdigest()[:16]
