"""What nobody's record explains: leases, and chains of the reference plugins. Removed only if provably ours.

Proof is the memory of a container none of whose records is lost: what bears its id was made for it by us. containerd
and CRI-O use ids of the same form in the same directories, so everything else is only named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import structlog

from dockercni.cni import CacheEntry, CacheError, CNIError, NetworkList, read_regular
from dockercni.errors import DockercniError
from dockercni.reconcile.attach import Attacher
from dockercni.reconcile.footprint import IPTABLES, Change, Ruleset, footprint
from dockercni.reconcile.memory import Had, Memory

_STORE: Final = "/var/lib/cni/networks"  # host-local's default dataDir
_MOST: Final = 4096  # bytes of a lease
_CHAIN: Final = re.compile(r"CNI-(DN-)?[0-9a-f]{21,24}")
_ID: Final = re.compile(r'\bid: \\"([A-Za-z0-9_.-]+)\\"')

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Stray:
    """One thing without an owner: what it is, the container id it bears, and what removes it."""

    what: str
    container_id: str
    lease: Path | None = None
    change: Change | None = None


def collect(attacher: Attacher, memory: Memory, *, dry_run: bool) -> Iterator[tuple[Stray, bool, str]]:
    """Every stray, whether it was removed (or in a dry run would be), and what went wrong, if anything did.

    No ADD or DEL of anybody who respects our locks is under way meanwhile. Raises LockHeld, RulesError.
    """
    with attacher.locks.host(exclusive=True):
        entries = [entry for entry in attacher.cache.entries() if not isinstance(entry, CacheError)]
        attached = {(entry.container_id, entry.network, entry.ifname) for entry in entries}
        proven = {each for each in memory.known() if not _lost(memory.recall(each), each, attached)}
        for stray in [*_leases(attacher.networks.catalogue().networks, entries), *_chains(attacher, entries)]:
            ours = stray.container_id in proven
            problem = ""
            if ours and not dry_run:
                try:
                    _remove(attacher, stray)
                except (OSError, DockercniError) as error:
                    problem = str(error)
            yield stray, ours, problem


def _lost(had: Iterable[Had], container_id: str, recorded: set[tuple[str, str, str]]) -> bool:
    """Whether a record of the container is missing: what bears its id may be in use, until a look has made it good."""
    return any(one.attached and (container_id, one.network, one.ifname) not in recorded for one in had)


def send_gc(attacher: Attacher) -> Iterator[tuple[str, str]]:
    """Send the GC verb for each network whose plugins know it; yields (network, problem or "").

    Not for a network that another runtime uses as well: what it has attached may be recorded elsewhere. Raises
    LockHeld.
    """
    with attacher.locks.host(exclusive=True):
        entries = [entry for entry in attacher.cache.entries() if not isinstance(entry, CacheError)]
        for network in attacher.networks.catalogue().networks:
            mine = [entry for entry in entries if entry.network == network.name]
            if any(entry.owner is None for entry in mine):
                log.info("no GC", network=network.name, reason="another runtime uses it too")
                continue
            try:
                attacher.runtime.gc(network, [(entry.container_id, entry.ifname) for entry in mine])
            except CNIError as error:
                yield network.name, str(error)
            else:
                yield network.name, ""


def stores(networks: Iterable[NetworkList]) -> Iterator[tuple[NetworkList, Path]]:
    """Where host-local keeps the leases of those networks that it serves."""
    for network in networks:
        ipam = network.plugins[0].raw.get("ipam")
        if isinstance(ipam, dict) and ipam.get("type") == "host-local":
            place = ipam.get("dataDir") or _STORE
            if isinstance(place, str):  # if not, the plugin says so at ADD
                yield network, Path(place) / network.name


def _leases(networks: Iterable[NetworkList], entries: Iterable[CacheEntry]) -> Iterator[Stray]:
    held = {(entry.network, entry.container_id, entry.ifname) for entry in entries}
    for network, store in stores(networks):
        for path in sorted(store.glob("*")):
            try:
                address = ip_address(path.name)
                container_id, _, ifname = read_regular(path, _MOST).decode("utf-8", "replace").strip().partition("\r\n")
            except (ValueError, OSError):  # its lock, its last_reserved_ip, or gone meanwhile
                continue
            if (network.name, container_id, ifname) not in held:
                yield Stray(
                    f"lease {address} of network {network.name} for {container_id} {ifname}", container_id, path
                )


def _chains(attacher: Attacher, entries: Iterable[CacheEntry]) -> Iterator[Stray]:
    ruleset = attacher.rules.listing()
    explained: set[str] = set()
    for entry in entries:
        if found := footprint(entry):
            explained |= {found.masquerade_chain, found.portmap_chain}
    for command in IPTABLES.values():
        chains = ruleset.chains.get((command, "nat"), {})
        for chain in sorted(chains):
            if _CHAIN.fullmatch(chain) and chain not in explained:
                container_id = _bearer(ruleset, command, chain)
                jumps = [f"-D {at} {rule}" for at, rule in ruleset.jumps(command, "nat", chain)]
                change = Change(command, "nat", (f":{chain} - [0:0]", *jumps, f"-X {chain}"))
                yield Stray(f"{command} nat chain {chain} for {container_id or 'nobody'}", container_id, change=change)


def _bearer(ruleset: Ruleset, command: str, chain: str) -> str:
    """The container id in the comments of a chain's rules, or of the rules that lead to it."""
    lines = [*ruleset.rules(command, "nat", chain), *(rule for _, rule in ruleset.jumps(command, "nat", chain))]
    return next((match[1] for line in lines if (match := _ID.search(line))), "")


def _remove(attacher: Attacher, stray: Stray) -> None:
    if stray.lease:
        stray.lease.unlink(missing_ok=True)
    if stray.change:
        attacher.rules.apply([stray.change])
