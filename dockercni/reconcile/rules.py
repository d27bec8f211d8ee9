"""The firewall rules of attachments: seen when they are missing, put back, swept."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from dockercni.cni import CacheEntry, CNIError, Runtime
from dockercni.errors import DockercniError, Retry
from dockercni.linux import firewalld, iptables, nft
from dockercni.linux.iptables import IptablesError
from dockercni.linux.netlink import NetlinkError
from dockercni.linux.nft import NftablesError
from dockercni.plugins import layout, mending, repair
from dockercni.plugins.registry import ENGINE as NATIVE
from dockercni.reconcile import nft_rules
from dockercni.reconcile.reference_rules import FIREWALL, IPTABLES, MASQUERADE, Change, Footprint, Snapshot, footprint

ELEMENTS: Final = "nftables elements"
_FRESH: Final = 2.0  # seconds for which one listing of the rules serves many looks

log = structlog.get_logger()


class RulesError(DockercniError):
    """The firewall's rules cannot be listed or changed now."""

    retry = Retry.LATER


class Rules:
    """Looks after the rules of recorded attachments. Thread-safe."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._guard = threading.Lock()
        self._seen: _Listing | None = None
        self._whole_until = 0.0

    def missing(self, entries: Sequence[CacheEntry]) -> dict[str, list[str]]:
        """For each interface name the kinds of rules that it lacks. Raises RulesError."""
        self.mend(entries)
        found = {entry.ifname: [ELEMENTS] for entry in entries if _lacks_elements(entry)}
        prints = {entry.ifname: one for entry in entries if (one := _footprint(entry))}
        if prints and _lacking(prints, self._listing(_FRESH)):
            # what is missing may only have come after that listing
            for ifname, kinds in _lacking(prints, self._listing(0.0)).items():
                found.setdefault(ifname, []).extend(kinds)
        for entry, kinds in _nft_missing(entries):
            found.setdefault(entry.ifname, []).extend(kinds)
        return found

    def lacking(self, entries: Iterable[CacheEntry]) -> set[str]:
        """The ids of the containers that lack rules now, by one listing for all. Raises RulesError."""
        recorded = list(entries)
        self.mend(recorded)
        found = {entry.container_id for entry in recorded if _lacks_elements(entry)}
        prints = [one for entry in recorded if (one := _footprint(entry))]
        if prints:
            listing = self._listing(0.0)
            found |= {one.container_id for one in prints if one.missing(listing)}
        return found | {entry.container_id for entry, _ in _nft_missing(recorded)}

    def mend(self, entries: Sequence[CacheEntry]) -> None:
        """See to it that our table has its rules, if plugins of this process serve any of the entries.

        Raises RulesError.
        """
        with self._guard:
            if not any(NATIVE in entry.served for entry in entries) or time.monotonic() < self._whole_until:
                return
            try:
                if nft.available() and mending.exists() and not mending.whole():
                    mending.mend()
                    log.info("nftables rules put back", table=layout.NAME)
            except (NetlinkError, NftablesError) as error:
                raise RulesError(str(error)) from error
            self._whole_until = time.monotonic() + _FRESH

    def forget(self) -> None:
        """Somebody changed rules: list them anew when next asked."""
        with self._guard:
            self._seen = None
            self._whole_until = 0.0

    def repair(self, entry: CacheEntry, kinds: Sequence[str], lock: int) -> None:
        """Put rules back in a way that keeps lease and link. Raises RulesError.

        portmap and firewall are run again: their ADD is idempotent, and knows best. Masquerade is made inside bridge's
        and ptp's ADD, which is not, so its rules are put back as they make them.
        """
        found = _footprint(entry)
        try:
            for kind in kinds:
                if kind == ELEMENTS:
                    repair.put_back(entry)
                elif nft_rules.repair(self._runtime, entry, kind, lock):
                    continue
                elif kind == MASQUERADE and found:
                    self.apply(found.masquerade(self._listing(0.0)))
                elif found:
                    self._runtime.repeat(entry, found.kinds[kind], (lock,))
        except (CNIError, NftablesError) as error:
            raise RulesError(str(error)) from error
        self.forget()

    def sweep(self, entry: CacheEntry, *, shared: bool) -> None:
        """Take away what executables left and their DEL may not find. Raises RulesError."""
        found = _footprint(entry)
        if found:
            self.apply(found.leftovers(self._listing(0.0), shared=shared))
        try:
            nft_rules.sweep(entry, shared=shared)
        except NftablesError as error:
            raise RulesError(str(error)) from error

    def listing(self) -> Snapshot:
        """All rules of this moment. Raises RulesError."""
        return self._listing(0.0)

    def apply(self, changes: Iterable[Change]) -> None:
        """Carry changes out. Raises RulesError."""
        self.forget()
        for change in changes:
            try:
                iptables.restore(change.command, change.table, change.lines)
            except IptablesError as error:
                raise RulesError(str(error)) from error

    def _listing(self, age: float) -> Snapshot:
        with self._guard:
            if self._seen is None or time.monotonic() - self._seen.when > age:
                when = time.monotonic()
                self._seen = _Listing(when, _list())
            return self._seen.ruleset


@dataclass(frozen=True, slots=True)
class _Listing:
    when: float
    ruleset: Snapshot


def _nft_missing(entries: Sequence[CacheEntry]) -> list[tuple[CacheEntry, list[str]]]:
    try:
        return nft_rules.missing(entries)
    except NftablesError as error:
        raise RulesError(str(error)) from error


def _list() -> Snapshot:
    try:
        listed = {command: iptables.saved(command) for command in IPTABLES.values()}
    except IptablesError as error:
        raise RulesError(str(error)) from error
    return Snapshot({(command, table): chains for command in listed for table, chains in listed[command].items()})


def _lacking(prints: dict[str, Footprint], ruleset: Snapshot) -> dict[str, list[str]]:
    return {ifname: kinds for ifname, one in prints.items() if (kinds := one.missing(ruleset))}


def _lacks_elements(entry: CacheEntry) -> bool:
    try:
        return NATIVE in entry.served and repair.lacking(entry)
    except CNIError as error:
        raise RulesError(str(error)) from error


def _footprint(entry: CacheEntry) -> Footprint | None:
    found = footprint(entry)
    if found and FIREWALL in found.kinds and firewalld.runs():  # then the plugin makes no rules of its own
        kinds = {kind: position for kind, position in found.kinds.items() if kind != FIREWALL}
        return replace(found, kinds=kinds)
    return found
