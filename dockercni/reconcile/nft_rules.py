"""The reference plugins' rules in nftables: listed, put back, swept. What they should be says `nft_footprint`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dockercni.cni import CacheEntry, Runtime
from dockercni.linux import nft
from dockercni.linux.nft import NftablesError
from dockercni.reconcile.reference_rules_nft import MASQUERADE, PORTMAP, TABLES, Rule, nft_footprint, rules


def missing(entries: Sequence[CacheEntry]) -> list[tuple[CacheEntry, list[str]]]:
    """The entries that lack rules, each with the kinds of them, by one listing for all. Raises NftablesError."""
    prints = [(entry, found) for entry in entries if (found := nft_footprint(entry))]
    if not prints:
        return []
    present = _present()
    return [(entry, kinds) for entry, found in prints if (kinds := found.missing(present))]


def repair(runtime: Runtime, entry: CacheEntry, kind: str, lock: int) -> bool:
    """Put the rules of one kind back; False for a kind that is not ours. Raises NftablesError, CNIError.

    portmap is run again, once nothing of this attachment is left that it would add a second time.
    """
    found = nft_footprint(entry)
    if found is None or kind not in found.kinds:
        return False
    present = _present()
    if kind == MASQUERADE:
        nft.apply(found.masquerade(present))
    elif kind == PORTMAP:
        _apply(found.unpublished(present))
        runtime.repeat(entry, found.kinds[kind], (lock,))
    return True


def sweep(entry: CacheEntry, *, shared: bool) -> None:
    """Take away what executables left and their DEL may not find. Raises NftablesError."""
    if found := nft_footprint(entry):
        _apply(found.leftovers(_present(), shared=shared))


def _present() -> list[Rule]:
    return [rule for table in TABLES for rule in rules(_listed(table))]


def _listed(table: tuple[str, str]) -> list[dict[str, Any]]:
    try:
        return nft.listing(f"list table {' '.join(table)}")
    except NftablesError as error:
        if error.missing:
            return []
        raise


def _apply(ruleset: str) -> None:
    try:
        if ruleset:
            nft.apply(ruleset)
    except NftablesError as error:
        if not error.missing:  # the plugin was faster
            raise
