"""The firewall rules of attachments: detected when they are missing, repaired, swept.

Plugins of this process keep elements in one nftables table of ours. Executables leave rules of their own, in iptables
or in nftables: see `reference_rules` and `reference_rules_nft` for which ones.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from dockercni.cni import CacheEntry, CNIError, Runtime
from dockercni.linux import firewalld, iptables, nft
from dockercni.linux.iptables import IptablesError
from dockercni.linux.netlink import NetlinkError
from dockercni.linux.nft import NftablesError
from dockercni.plugins import layout, repair, ruleset
from dockercni.plugins.dispatch import BUILTIN
from dockercni.reconcile import reference_rules_nft
from dockercni.reconcile.failure import Failure
from dockercni.reconcile.reference_rules import (
    FIREWALL,
    IPTABLES,
    MASQUERADE,
    ReferenceRules,
    Snapshot,
    TableChange,
    reference_rules,
)
from dockercni.reconcile.reference_rules_nft import TABLES, Rule, nft_reference_rules

ELEMENTS: Final = "nftables elements"
_FRESH: Final = 2.0  # seconds for which one listing of the rules serves many containers

log = structlog.get_logger()


class RulesError(Failure):
    """The firewall's rules cannot be listed or changed now."""


@dataclass(frozen=True, slots=True)
class _Listing:
    when: float
    snapshot: Snapshot


class FirewallRules:
    """Looks after the rules of recorded attachments. Thread-safe."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._guard = threading.Lock()
        self._listed: _Listing | None = None
        self._table_whole_until = 0.0

    def missing(self, entries: Sequence[CacheEntry]) -> dict[str, list[str]]:
        """For each interface name the kinds of rules that it lacks. Raises RulesError."""
        self._repair_table(entries)
        found = {entry.ifname: [ELEMENTS] for entry in entries if _lacks_elements(entry)}
        expected = {entry.ifname: rules for entry in entries if (rules := _expected(entry))}
        if expected and _lacking(expected, self._listing(_FRESH)):
            # what is missing may have been made since that listing
            for ifname, kinds in _lacking(expected, self._listing(0.0)).items():
                found.setdefault(ifname, []).extend(kinds)
        for entry, kinds in _missing_nft(entries):
            found.setdefault(entry.ifname, []).extend(kinds)
        return found

    def lacking(self, entries: Iterable[CacheEntry]) -> set[str]:
        """The ids of the containers that lack rules now, by one listing for all. Raises RulesError."""
        recorded = list(entries)
        self._repair_table(recorded)
        found = {entry.container_id for entry in recorded if _lacks_elements(entry)}
        expected = [rules for entry in recorded if (rules := _expected(entry))]
        if expected:
            snapshot = self._listing(0.0)
            found |= {rules.container_id for rules in expected if rules.missing(snapshot)}
        return found | {entry.container_id for entry, _ in _missing_nft(recorded)}

    def invalidate(self) -> None:
        """Rules were changed: list them anew when next asked."""
        with self._guard:
            self._listed = None
            self._table_whole_until = 0.0

    def repair(self, entry: CacheEntry, kinds: Sequence[str], lock: int) -> None:
        """Repair rules in a way that keeps lease and link. Raises RulesError.

        The ADD of portmap and firewall is idempotent, so these run again. That of bridge and ptp is not, so their
        masquerade rules are made here, in the same form.
        """
        found = _expected(entry)
        with _errors():
            for kind in kinds:
                if kind == ELEMENTS:
                    repair.repair(entry)
                elif _repair_nft(self._runtime, entry, kind, lock):
                    continue
                elif kind == MASQUERADE and found:
                    self.apply(found.masquerade(self._listing(0.0)))
                elif found:
                    self._runtime.repeat(entry, found.kinds[kind], (lock,))
        self.invalidate()

    def sweep(self, entry: CacheEntry, *, shared: bool) -> None:
        """Remove the rules that executables left and that their DEL may not find. Raises RulesError.

        `shared`: the container has another attachment to this network, which needs some of them.
        """
        if found := _expected(entry):
            self.apply(found.leftovers(self._listing(0.0), shared=shared))
        if found_nft := nft_reference_rules(entry):
            with _errors():
                _apply_nft(found_nft.leftovers(_list_nft(), shared=shared))

    def listing(self) -> Snapshot:
        """All iptables rules of this moment. Raises RulesError."""
        return self._listing(0.0)

    def apply(self, changes: Iterable[TableChange]) -> None:
        """Carry changes out. Raises RulesError."""
        self.invalidate()
        with _errors():
            for change in changes:
                iptables.restore(change.command, change.table, change.lines)

    def _repair_table(self, entries: Sequence[CacheEntry]) -> None:
        """Give our nftables table its rules again, if plugins of this process serve any of the entries."""
        with self._guard, _errors():
            if not any(BUILTIN in entry.served for entry in entries) or time.monotonic() < self._table_whole_until:
                return
            if nft.available() and ruleset.exists() and not ruleset.whole():
                ruleset.repair()
                log.info("nftables rules repaired", table=layout.NAME)
            self._table_whole_until = time.monotonic() + _FRESH

    def _listing(self, age: float) -> Snapshot:
        with self._guard:
            if self._listed is None or time.monotonic() - self._listed.when > age:
                when = time.monotonic()
                self._listed = _Listing(when, _list())
            return self._listed.snapshot


def _list() -> Snapshot:
    with _errors():
        listed = {command: iptables.saved(command) for command in IPTABLES.values()}
    return Snapshot({(command, table): chains for command in listed for table, chains in listed[command].items()})


def _lacking(expected: dict[str, ReferenceRules], snapshot: Snapshot) -> dict[str, list[str]]:
    return {ifname: kinds for ifname, rules in expected.items() if (kinds := rules.missing(snapshot))}


def _lacks_elements(entry: CacheEntry) -> bool:
    with _errors():
        return BUILTIN in entry.served and repair.lacking(entry)


def _expected(entry: CacheEntry) -> ReferenceRules | None:
    found = reference_rules(entry)
    if found and FIREWALL in found.kinds and firewalld.runs():  # the plugin then asks firewalld, and makes no rules
        kinds = {kind: position for kind, position in found.kinds.items() if kind != FIREWALL}
        return replace(found, kinds=kinds)
    return found


def _missing_nft(entries: Sequence[CacheEntry]) -> list[tuple[CacheEntry, list[str]]]:
    """The entries that lack rules in nftables, each with their kinds, by one listing for all. Raises RulesError."""
    expected = [(entry, rules) for entry in entries if (rules := nft_reference_rules(entry))]
    if not expected:
        return []
    with _errors():
        present = _list_nft()
    return [(entry, kinds) for entry, rules in expected if (kinds := rules.missing(present))]


def _repair_nft(runtime: Runtime, entry: CacheEntry, kind: str, lock: int) -> bool:
    """Repair the nftables rules of one kind; False for a kind that is in iptables. Raises NftablesError, CNIError.

    portmap adds its rules without looking for those that are there, so what is left of them is removed first.
    """
    found = nft_reference_rules(entry)
    if found is None or kind not in found.kinds:
        return False
    present = _list_nft()
    if kind == reference_rules_nft.MASQUERADE:
        nft.apply(found.masquerade(present))
    elif kind == reference_rules_nft.PORTMAP:
        _apply_nft(found.unpublished(present))
        runtime.repeat(entry, found.kinds[kind], (lock,))
    return True


def _list_nft() -> list[Rule]:
    return [rule for table in TABLES for rule in reference_rules_nft.rules(_listed_nft(table))]


def _listed_nft(table: tuple[str, str]) -> list[dict[str, Any]]:
    try:
        return nft.listing(f"list table {' '.join(table)}")
    except NftablesError as error:
        if error.missing:
            return []
        raise


def _apply_nft(commands: str) -> None:
    try:
        if commands:
            nft.apply(commands)
    except NftablesError as error:
        if not error.missing:  # the plugin removed it since the listing
            raise


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except (CNIError, IptablesError, NetlinkError, NftablesError) as error:
        raise RulesError.of(error) from error
