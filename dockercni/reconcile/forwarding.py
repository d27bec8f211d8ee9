"""Who opens and closes FORWARD? The records say what may pass, and our chain is made to say the same.

A link of the host may pass from before the first ADD that names it until no record names it any more, whatever has
become of the link by then. While a record is lost, what passes goes on passing. With the setting `isolation` networks
are isolated from each other and from Docker's bridges, unless their firewall plugin has `"ingressPolicy": "open"`. The
rules themselves, and their order, are in `linux.forward`. The firewall plugin opens FORWARD itself only if it runs for
another runtime, whose records are not read here (`plugins.forward`).
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import structlog

from dockercni.cni import Cache, CacheEntry, CacheError, NetworkList
from dockercni.cni.errors import is_shortage
from dockercni.docker.api import ListedNetwork
from dockercni.linux import forward, host_links, iptables
from dockercni.linux.forward import Chains, Segment
from dockercni.linux.host_links import RoutedLinks
from dockercni.linux.iptables import Filter, IptablesError
from dockercni.linux.nft import NftablesError
from dockercni.plugins import ruleset
from dockercni.reconcile.history import History
from dockercni.reconcile.uses import Use, bridges, use

_DOCKERS: Final = re.compile(r"docker0|docker_gwbridge|br-[0-9a-f]{12}")

log = structlog.get_logger()


class _Listing(NamedTuple):
    """A filter table for one IP version; `idle` if our chain is not needed in it."""

    version: int
    table: Filter
    present: Chains
    idle: bool


class _Table(NamedTuple):
    """A filter table: its present chains and those that it should have."""

    table: Filter
    present: Chains
    wanted: Chains


class Forwarding:
    """Keeps our chain as the records say. Thread-safe, also among processes."""

    def __init__(self, cache: Cache, history: History, *, isolate: bool) -> None:
        self._cache = cache
        self._history = history
        self._isolate = isolate
        self._guard = threading.Lock()
        self._adding: Counter[str] = Counter()  # bridges of ADDs under way, which may not be recorded yet
        self._uses: dict[tuple[str, str, str], Use] = {}
        self._docker: Mapping[str, Collection[int]] | None = None
        self._open: frozenset[Segment] = frozenset()
        self._seen: int | None = None  # the last change that `_open` includes
        self.unsettled = False  # the last `settle` failed, perhaps after a DEL, which nobody would repeat for it

    @contextlib.contextmanager
    def during_add(self, network: NetworkList) -> Iterator[None]:
        """Let the bridges of a network through during an ADD: DHCP needs that before it ends.

        Raises IptablesError.
        """
        names = bridges(network)
        with self._guard:
            self._adding.update(names)
        try:
            self._ensure(Use(names, names))
            yield
        finally:
            with self._guard:
                self._adding.subtract(names)

    def open(self, entry: CacheEntry) -> None:
        """Let through what is recorded.

        Cheap if it passes already and no such rule was changed since. Raises IptablesError.
        """
        this = use(entry)
        with self._guard:
            self._uses[entry.key] = this
        self._ensure(this)

    def close(self, entry: CacheEntry) -> None:
        """Close what was open only for this attachment, whose record is gone. Raises IptablesError.

        If another attachment on the same bridge is recorded, nothing has to be closed, and not all records are read.
        """
        with self._guard:
            gone = self._uses.pop(entry.key, None) or use(entry)
            others = [key for key, other in self._uses.items() if gone.links & other.links]
            by_address = any(one.shared or not one.link for one in self._open)
        if not gone.links | gone.addresses:
            return
        if by_address or not any(self._recorded(key) for key in others):
            self.settle()

    def learn(self, networks: Iterable[ListedNetwork]) -> bool:
        """Take over Docker's networks, as the engine lists them; returns whether they changed."""
        docker = {network.link: network.direct for network in networks if network.link}
        news = docker != self._docker
        if news:
            self._docker = docker
            self.invalidate()
        return news

    def invalidate(self) -> None:
        """Read the rules again before relying on them."""
        self._seen = None

    def settle(self) -> None:
        """Bring our chain in each filter table up to date. Raises IptablesError; then it is `unsettled`."""
        try:
            self._settle()
        except IptablesError:
            self.unsettled = True
            raise
        self.unsettled = False

    def _settle(self) -> None:
        with self._guard, _errors(), forward.changing() as change:
            around = host_links.routed_links()
            segments, tables = self._read(around)
            # Ingress policies belong to their bridge. Only our chain says which bridges there were, also after a crash,
            # so it is changed last.
            closed = {name for one in tables for name in forward.marked(one.present)} - _names(segments)
            if unused := closed.difference(*(this.links for this in self._uses.values())):
                ruleset.remove_owned(ruleset.BRIDGES, lambda comment: comment in unused)
            for one in tables:
                if lines := forward.changes(one.present, one.wanted, _names(segments)):
                    iptables.restore(one.table.command, "filter", lines)
                    change.done()
                    log.info("forwarding changed", command=one.table.command, open=sorted(_names(segments)))
            self._open, self._seen = segments, forward.last_change()

    def problems(self) -> list[str]:
        """What `settle` would change, in words; changes nothing. Raises IptablesError."""
        with self._guard, _errors():
            segments, tables = self._read(host_links.routed_links())
            return [
                f"{one.table.command}: chain {forward.CHAIN}, or its place in FORWARD, differs from the records"
                for one in tables
                if forward.changes(one.present, one.wanted, _names(segments))
            ]

    def _ensure(self, this: Use) -> None:
        with _errors():
            if self._covers(this):
                return
        self.settle()

    def _covers(self, this: Use) -> bool:
        """Whether that passes already, as far as known without reading the rules."""
        if self._seen is None or self._seen != forward.last_change():
            return False
        known = {one.link: one for one in self._open if one.link}
        found = [known[name] for name in this.links if name in known]
        if not found and this.by_address:
            return all(Segment(addresses=frozenset({one}), open=this.open) in self._open for one in this.addresses)
        return (
            this.bridges <= known.keys()
            and not any(host_links.routed(name) for name in this.links - known.keys())
            and not any(one.open and not this.open for one in found)
            and all(this.addresses <= one.addresses for one in found if one.shared)
        )

    def _recorded(self, key: tuple[str, str, str]) -> bool:
        try:
            entry = self._cache.read(*key)
        except CacheError:  # it exists, whatever its content
            return True
        return entry is not None and entry.owner is not None

    def _read(self, around: RoutedLinks) -> tuple[frozenset[Segment], list[_Table]]:
        """What has to pass, and the filter tables."""
        listings, segments = list(self._listings()), self._segments(around)
        segments |= self._kept(listings, segments)
        return segments, [_Table(one.table, one.present, self._wanted(one, segments, around)) for one in listings]

    def _segments(self, around: RoutedLinks) -> frozenset[Segment]:
        """What has to pass: by our records, and by ADDs under way. Other runtimes open FORWARD themselves."""
        entries = list(self._cache.entries())
        self._uses = {entry.key: use(entry) for entry in entries}
        ours = [self._uses[entry.key] for entry in entries if entry.owner is not None]
        coming = frozenset(name for name, number in self._adding.items() if number > 0)
        behind: defaultdict[str, list[Use]] = defaultdict(list)
        found = set()
        for this in ours:
            passing = this.bridges | (this.links & around.routed)
            for name in passing:
                behind[name].append(this)
            if this.by_address and not passing:
                found |= {Segment(addresses=frozenset({address}), open=this.open) for address in this.addresses}
        for name in coming | behind.keys():
            if not forward.plain(name):
                log.warning("forwarding not opened", link=name, reason="iptables does not accept that name")
                continue
            on = behind[name]
            addresses = frozenset(address for this in on for address in this.addresses) if name in around.shared else ()
            open_ = bool(on) and all(this.open for this in on)
            found.add(Segment(name, frozenset(addresses), open_, name in around.shared))
        return frozenset(found)

    def _kept(self, listings: Iterable[_Listing], segments: frozenset[Segment]) -> set[Segment]:
        """What passes without a record, while a record is lost: it may be in use."""
        passing = set().union(*(forward.passing(one.present) for one in listings))
        unexplained = {one for one in passing if one.name not in _names(segments)}
        recorded = self._uses.keys()
        return unexplained if unexplained and any(self._history.lost(recorded)) else set()

    def _listings(self) -> Iterator[_Listing]:
        for version in iptables.FAMILIES:
            for position, table in enumerate(iptables.filters(version)):
                try:
                    policies, present = table.listing()
                except (
                    IptablesError
                ) as error:  # a broken table cannot be repaired here, and must not keep networks from being attached
                    if is_shortage(error):
                        raise
                    log.warning("forwarding not read", command=table.command, reason=str(error))
                    continue
                idle = policies.get(forward.FORWARD) == "ACCEPT" and not present.get(forward.FORWARD)
                # Then nothing is kept back here, and nothing has to be isolated.
                yield _Listing(version, table, present, idle and bool(position or not self._isolate))

    def _wanted(self, listing: _Listing, segments: frozenset[Segment], around: RoutedLinks) -> Chains:
        if listing.idle:
            return {}
        admin = forward.admin_jumps(listing.present)
        docker = self._dockers(listing.present, _names(segments), around)
        return forward.content(listing.version, segments, docker, isolate=self._isolate, admin=admin)

    def _dockers(self, present: Chains, ours: Collection[str], around: RoutedLinks) -> Mapping[str, Collection[int]]:
        """Docker's bridges. Before the engine has answered: those with such names, and those that our chain has."""
        known = self._docker
        if known is None:
            names = forward.docker_bridges(present) | set(filter(_DOCKERS.fullmatch, around.routed))
            known = dict.fromkeys(names, ())
        own = around.routed - around.shared - set(ours)  # a bridge that is the uplink leads to all other machines
        return {name: versions for name, versions in known.items() if name in own and forward.plain(name)}


def _names(segments: Collection[Segment]) -> set[str]:
    return {one.name for one in segments}


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except (OSError, NftablesError) as error:
        raise IptablesError(f"forwarding cannot be read: {error}") from error
