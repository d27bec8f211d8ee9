"""The firewall rules of attachments that executables made: seen when they are missing, put back, swept."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from dockercni.cni import CacheEntry, CNIError, Runtime
from dockercni.errors import DockercniError
from dockercni.kernel import iptables
from dockercni.kernel.iptables import IptablesError
from dockercni.reconcile.footprint import FIREWALL, IPTABLES, MASQUERADE, Change, Footprint, Ruleset, footprint

_FRESH: Final = 2.0  # seconds for which one listing of the rules serves many looks
_FIREWALLD: Final = Path("/run/firewalld.pid")

log = structlog.get_logger()


class RulesError(DockercniError):
    """The firewall's rules cannot be listed or changed now."""

    retry = True


class Rules:
    """Looks after the rules of recorded attachments. Thread-safe."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._guard = threading.Lock()
        self._seen: _Listing | None = None

    def missing(self, entries: Sequence[CacheEntry]) -> dict[str, list[str]]:
        """For each interface name the kinds of rules that it lacks. Raises RulesError."""
        prints = {entry.ifname: found for entry in entries if (found := _footprint(entry))}
        if not prints or not any(_lacking(prints, self._listing(_FRESH)).values()):
            return {}
        return _lacking(prints, self._listing(0.0))  # what is missing may only have come after the listing

    def lacking(self, entries: Iterable[CacheEntry]) -> set[str]:
        """The ids of the containers that lack rules now, by one listing for all. Raises RulesError."""
        prints = [found for entry in entries if (found := _footprint(entry))]
        if not prints:
            return set()
        ruleset = self._listing(0.0)
        return {one.container_id for one in prints if one.missing(ruleset)}

    def forget(self) -> None:
        """Somebody changed rules: list them anew when next asked."""
        with self._guard:
            self._seen = None

    def repair(self, entry: CacheEntry, kinds: Sequence[str], lock: int) -> None:
        """Put rules back in a way that keeps lease and link. Raises RulesError.

        portmap and firewall are run again: their ADD is idempotent, and knows best. Masquerade is made inside bridge's
        and ptp's ADD, which is not, so its rules are put back as they make them.
        """
        found = _footprint(entry)
        if found is None:
            return
        for kind in kinds:
            if kind == MASQUERADE:
                self.apply(found.masquerade(self._listing(0.0)))
                continue
            try:
                self._runtime.repeat(entry, found.kinds[kind], (lock,))
            except CNIError as error:
                raise RulesError(str(error)) from error
        self.forget()

    def sweep(self, entry: CacheEntry, *, shared: bool) -> None:
        """Take away what executables left and their DEL may not find. Raises RulesError."""
        found = _footprint(entry)
        if found:
            self.apply(found.leftovers(self._listing(0.0), shared=shared))

    def listing(self) -> Ruleset:
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

    def _listing(self, age: float) -> Ruleset:
        with self._guard:
            if self._seen is None or time.monotonic() - self._seen.when > age:
                when = time.monotonic()
                self._seen = _Listing(when, _list())
            return self._seen.ruleset


@dataclass(frozen=True, slots=True)
class _Listing:
    when: float
    ruleset: Ruleset


def _list() -> Ruleset:
    try:
        listed = {command: iptables.saved(command) for command in IPTABLES.values()}
    except IptablesError as error:
        raise RulesError(str(error)) from error
    return Ruleset({(command, table): chains for command in listed for table, chains in listed[command].items()})


def _lacking(prints: dict[str, Footprint], ruleset: Ruleset) -> dict[str, list[str]]:
    return {ifname: kinds for ifname, one in prints.items() if (kinds := one.missing(ruleset))}


def _footprint(entry: CacheEntry) -> Footprint | None:
    found = footprint(entry)
    if found and FIREWALL in found.kinds and _FIREWALLD.exists():  # then the plugin makes no rules of its own
        kinds = {kind: position for kind, position in found.kinds.items() if kind != FIREWALL}
        return Footprint(found.network, found.container_id, found.result, kinds)
    return found
