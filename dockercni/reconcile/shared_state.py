"""What attachments share and leave for the next one; `uninstall` removes it.

Another runtime may use our executables, and with them our nftables table, a bridge or a lease store, and it may have
rules in the reference plugins' chains. What it uses stays, and is named.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from dockercni.cni import CacheEntry, NetworkList
from dockercni.linux import forward, host_links, iptables, netns, nft
from dockercni.linux.iptables import IptablesError
from dockercni.linux.netlink import NetlinkError
from dockercni.plugins import ruleset
from dockercni.plugins.layout import NAME
from dockercni.plugins.ruleset import Owner
from dockercni.reconcile import orphans, records
from dockercni.reconcile.firewall_rules import RulesError
from dockercni.reconcile.networks import BUILT_IN_BRIDGE

_ISOLATION: Final = "CNI-ISOLATION-STAGE-1"  # of the reference firewall plugin
_CONCERNED: Final = (  # what a rule of these chains is for
    re.compile(r"-[sd] ([0-9a-f.:]+)/(?:32|128)\b"),
    re.compile(r"-i (\S+)"),
)
_KEEPING: Final = re.compile(r"lock|last_reserved_ip\..*")


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing: what it is, and what removes it, or who still uses it."""

    what: str
    remove: Callable[[], object] = lambda: None
    users: str = ""


def leftovers(networks: Iterable[NetworkList], leaving: Sequence[CacheEntry]) -> Iterator[Leftover]:
    """What to remove or to leave once the attachments in `leaving` are gone. Raises RulesError, OSError."""
    owners = {Owner(entry.container_id, entry.ifname, entry.network).comment for entry in leaving}
    ports = Counter(link.name for entry in leaving for link in records.given(entry).interfaces if not link.sandbox)
    yield from _table(owners, ports)
    yield from _forward({str(ip.address.ip) for entry in leaving for ip in records.given(entry).ips})
    if host_links.is_bridge(BUILT_IN_BRIDGE):
        used = host_links.has_ports(BUILT_IN_BRIDGE, besides=ports[BUILT_IN_BRIDGE])
        users = "other links are on it" if used else ""
        yield Leftover(f"bridge {BUILT_IN_BRIDGE}", partial(host_links.remove_bridge, BUILT_IN_BRIDGE), users)
    held = {(entry.network, entry.container_id, entry.ifname) for entry in leaving}
    for network, store in orphans.stores(networks):
        files = list(store.glob("*"))
        leases = [
            f"{path.name} of {container_id} {ifname}".strip()
            for path, container_id, ifname in orphans.leases(store)
            if (network.name, container_id, ifname) not in held
        ]
        kept = [path for path in files if _KEEPING.fullmatch(path.name)]
        if files:
            what = f"{store}, the lease store of network {network.name}"
            yield Leftover(what, partial(_remove_store, store, kept), ", ".join(leases))


def remove_directories(cache: Path, pins: Path) -> None:
    """Remove the directories of cache and pins if they are empty: other programs use them as well."""
    for directory in (cache / "networks", cache / "results", cache):
        with contextlib.suppress(OSError):
            directory.rmdir()
    netns.remove_directory(pins)


def _table(owners: set[str], ports: Counter[str]) -> Iterator[Leftover]:
    """Our table. It is removed only as a whole: elements of others need its chains and rules."""
    if not (nft.available() and ruleset.exists()):
        return
    users = [comment for comment in sorted(orphans.owners()) if comment not in owners]
    bridges = {element.comment for element in ruleset.owned(ruleset.BRIDGES)}
    users += [f"bridge {name}" for name in sorted(bridges) if host_links.has_ports(name, besides=ports[name])]
    yield Leftover(f"table inet {NAME} of nftables", partial(nft.apply, f"delete table inet {NAME}"), ", ".join(users))


def _forward(leaving: set[str]) -> Iterator[Leftover]:
    """Chains by which other runtimes let traffic through FORWARD or isolate networks."""
    try:
        for table in [table for version in iptables.FAMILIES for table in iptables.filters(version)]:
            chains = table.chains()
            for chain in (forward.CNI, _ISOLATION):
                rules = chains.get(chain, ())
                names = {match[1] for rule in rules for each in _CONCERNED if (match := each.search(rule))}
                names |= {name for rule in rules if (name := forward.firewall_name(rule))}
                if others := sorted(names - leaving):
                    yield Leftover(f"chain {chain} of {table.command}", users=f"rules for {', '.join(others)}")
    except (IptablesError, NetlinkError) as error:
        raise RulesError.of(error) from error


def _remove_store(store: Path, kept: Iterable[Path]) -> None:
    for path in kept:
        path.unlink(missing_ok=True)
    store.rmdir()
