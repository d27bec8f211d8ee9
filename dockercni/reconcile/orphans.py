"""Orphans: leases, chains of the reference plugins and elements of our table that no record explains.

They are removed only if dockercni created them. A network with any other orphan on it does not get the GC verb, which
would remove that as well. Elements that serve no address on this host are removed too.

The proof is a container's history, if none of its records is lost: what bears its id was created by dockercni. The form
of an id proves nothing, since containerd and CRI-O use the same form in the same directories, and so may another
runtime that uses our executables.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from dockercni.cni import CacheEntry, CNIError, NetworkList, versions
from dockercni.errors import DockercniError
from dockercni.files import read_regular
from dockercni.plugins import ruleset
from dockercni.reconcile import host_local_leases, orphaned_elements
from dockercni.reconcile.attach import Attacher
from dockercni.reconcile.history import History
from dockercni.reconcile.orphaned_elements import OwnerElements
from dockercni.reconcile.reference_rules import IPTABLES, Snapshot, TableChange, reference_rules
from dockercni.reconcile.uses import bridges

_MAX_LEASE: Final = 4096  # bytes of a lease
_CHAIN: Final = re.compile(r"CNI-(DN-)?[0-9a-f]{21,24}")
_NAME: Final = re.compile(r'\bname: \\"([A-Za-z0-9_.-]+)\\"')
_ID: Final = re.compile(r'\bid: \\"([A-Za-z0-9_.-]+)\\"')


@dataclass(frozen=True, slots=True)
class Orphan:
    """One thing without a record: what it is, the container id that it bears, and what removes it.

    `networks` are those that it may belong to; empty if that is not known, and then it may be any.
    """

    what: str
    container_id: str
    networks: tuple[str, ...] = ()
    lease: Path | None = None
    change: TableChange | None = None
    elements: OwnerElements | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """A GC verb that was sent to a network's plugins (in a dry run: would be), or was withheld for a `reason`."""

    network: str
    plugins: tuple[str, ...]
    reason: str = ""
    problem: str = ""


def collect(attacher: Attacher, *, dry_run: bool) -> Iterator[tuple[Orphan, bool, str]]:
    """Every orphan, whether it was removed (in a dry run: would be), and what went wrong, if anything did.

    The host's lock keeps every ADD and DEL of dockercni out meanwhile. Raises LockHeld, RulesError.
    """
    with attacher.locks.host(exclusive=True):
        entries = _entries(attacher)
        orphans = _orphans(attacher, entries)
        removable = _removable(attacher.history, entries, orphans)
        for orphan in orphans:
            ours = orphan in removable
            problem = ""
            if ours and not dry_run:
                try:
                    _remove(attacher, orphan)
                except (OSError, DockercniError) as error:
                    problem = str(error)
            yield orphan, ours, problem


def send_gc(attacher: Attacher, *, dry_run: bool) -> Iterator[Sent]:
    """Send the GC verb to each network whose plugins know it, unless an orphan on it may be another runtime's.

    The verb names the valid attachments, and everything else is garbage by its definition: also the leases of another
    runtime, whose records may be elsewhere. Raises LockHeld, RulesError.
    """
    with attacher.locks.host(exclusive=True):
        entries = _entries(attacher)
        orphans = _orphans(attacher, entries)
        removable = _removable(attacher.history, entries, orphans)
        unproven = [orphan for orphan in orphans if orphan not in removable]
        for network in attacher.networks.catalogue().networks:
            if network.disable_gc or not versions.supports(network.cni_version, versions.Feature.GC):
                continue
            plugins = tuple(plugin.type for plugin in network.plugins)
            mine = [entry for entry in entries if entry.network == network.name]
            if reason := _reason(attacher, network.name, mine, unproven):
                yield Sent(network.name, plugins, reason)
                continue
            problem = ""
            try:
                if not dry_run:
                    attacher.runtime.gc(network, [(entry.container_id, entry.ifname) for entry in mine])
            except CNIError as error:
                problem = str(error)
            yield Sent(network.name, plugins, problem=problem)


def stores(networks: Iterable[NetworkList]) -> Iterator[tuple[NetworkList, Path]]:
    """Where host-local keeps the leases of those networks that it serves."""
    for network in networks:
        for directory in host_local_leases.directories(network):
            yield network, Path(directory)


def leases(store: Path) -> Iterator[tuple[Path, str, str]]:
    """Each lease of a store with the container id and the interface that it is for."""
    for path in sorted(store.glob("*")):
        try:
            ip_address(path.name)
            lease = read_regular(path, _MAX_LEASE).decode("utf-8", "replace").strip()
        except (ValueError, OSError):  # its lock, its last_reserved_ip, or gone meanwhile
            continue
        container_id, _, ifname = lease.partition("\r\n")
        yield path, container_id, ifname


def owners() -> list[str]:
    """The owners of elements in our table, by the elements' comments. Raises RulesError."""
    return [orphan.comment for orphan in orphaned_elements.find(())]


def _entries(attacher: Attacher) -> list[CacheEntry]:
    return list(attacher.cache.entries())


def _removable(history: History, entries: Iterable[CacheEntry], orphans: Iterable[Orphan]) -> set[Orphan]:
    """The orphans that dockercni created, or that serve nothing. Raises RulesError."""
    proven = set(history.known()).difference(history.lost({entry.key for entry in entries}))
    dead = orphaned_elements.dead([orphan.elements for orphan in orphans if orphan.elements], entries)
    return {orphan for orphan in orphans if orphan.container_id in proven or orphan.elements in dead}


def _reason(attacher: Attacher, network: str, mine: Iterable[CacheEntry], unproven: Iterable[Orphan]) -> str:
    """Why a network does not get the GC verb; "" if everything on it was created by dockercni."""
    if any(entry.owner is None for entry in mine):
        return "another runtime has attachments to it"
    for error in attacher.cache.broken():
        if f"/{network}-" in str(error):
            return f"a record cannot be read: {error}"
    orphan = next((orphan for orphan in unproven if not orphan.networks or network in orphan.networks), None)
    return f"{orphan.what} is not known to be created by dockercni" if orphan else ""


def _orphans(attacher: Attacher, entries: Sequence[CacheEntry]) -> list[Orphan]:
    networks = attacher.networks.catalogue().networks
    return [*_leases(networks, entries), *_chains(attacher, entries), *_elements(networks, entries)]


def _leases(networks: Iterable[NetworkList], entries: Iterable[CacheEntry]) -> Iterator[Orphan]:
    held = {(entry.network, entry.container_id, entry.ifname) for entry in entries}
    for network, store in stores(networks):
        for path, container_id, ifname in leases(store):
            if (network.name, container_id, ifname) not in held:
                what = f"lease {path.name} of network {network.name} for {container_id} {ifname}"
                yield Orphan(what, container_id, (network.name,), lease=path)


def _elements(networks: Collection[NetworkList], entries: Sequence[CacheEntry]) -> Iterator[Orphan]:
    names = [network.name for network in networks]
    for owner in orphaned_elements.find(entries):
        mine = tuple(name for name in names if ruleset.names(owner.comment, name)) or ("",)
        yield Orphan(str(owner), owner.container_id, mine, elements=owner)
    for owner in orphaned_elements.policies(entries):
        on = tuple(network.name for network in networks if owner.bridge in bridges(network)) or ("",)
        yield Orphan(str(owner), owner.container_id, on, elements=owner)


def _chains(attacher: Attacher, entries: Iterable[CacheEntry]) -> Iterator[Orphan]:
    rules = attacher.rules.listing()
    explained: set[str] = set()
    for entry in entries:
        if found := reference_rules(entry):
            explained |= {found.masquerade_chain, found.portmap_chain}
    for command in IPTABLES.values():
        chains = rules.chains.get((command, "nat"), {})
        for chain in sorted(chains):
            if _CHAIN.fullmatch(chain) and chain not in explained:
                container_id, network = (_borne(rules, command, chain, what) for what in (_ID, _NAME))
                jumps = [f"-D {at} {rule}" for at, rule in rules.jumps(command, "nat", chain)]
                change = TableChange(command, "nat", (f":{chain} - [0:0]", *jumps, f"-X {chain}"))
                what = f"{command} nat chain {chain} for {container_id or 'nobody'}"
                yield Orphan(what, container_id, (network,) if network else (), change=change)


def _borne(rules: Snapshot, command: str, chain: str, what: re.Pattern[str]) -> str:
    """What `what` finds in the comments of a chain's rules, or of the rules that lead to it."""
    lines = [*rules.rules(command, "nat", chain), *(rule for _, rule in rules.jumps(command, "nat", chain))]
    return next((match[1] for line in lines if (match := what.search(line))), "")


def _remove(attacher: Attacher, orphan: Orphan) -> None:
    if orphan.lease:
        orphan.lease.unlink(missing_ok=True)
    if orphan.change:
        attacher.rules.apply([orphan.change])
    if orphan.elements:
        orphaned_elements.remove(orphan.elements)
