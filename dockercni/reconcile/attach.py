"""ADD, DEL, CHECK and repair of single attachments, each with its locks, its forwarding and its roll-back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from dockercni.cni import (
    Cache,
    CacheEntry,
    CacheError,
    CNIError,
    ErrorCode,
    NetworkList,
    Result,
    Runtime,
    RuntimeConf,
    VersionError,
    parse_list,
)
from dockercni.cni.errors import is_shortage
from dockercni.errors import DockercniError, Retry
from dockercni.linux import routing
from dockercni.linux.announce import announce
from dockercni.linux.iptables import IptablesError
from dockercni.linux.netns import Namespace
from dockercni.model import NetnsId, NetworkRequest, PublishedPort
from dockercni.plugins import dhcp
from dockercni.reconcile import (
    conflicts,
    container_half,
    default_route,
    detach,
    host_local_leases,
    ports,
    preferred,
    records,
)
from dockercni.reconcile.dhcp_leases import DHCPLeases
from dockercni.reconcile.failure import Failure
from dockercni.reconcile.firewall_rules import FirewallRules, RulesError
from dockercni.reconcile.forwarding import Forwarding
from dockercni.reconcile.history import History, PastAttachment
from dockercni.reconcile.host_half import HostError, HostHalf
from dockercni.reconcile.host_needs import may_route_ipv6, parent_unknown
from dockercni.reconcile.locks import Locks
from dockercni.reconcile.networks import Networks
from dockercni.reconcile.plan import Repair
from dockercni.reconcile.records import PREDICTABLE, Record
from dockercni.reconcile.state import StateError

log = structlog.get_logger()


class AttachFailed(Failure):
    """An ADD, DEL, CHECK or repair failed; the message names the plugin and what it said."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where an attachment goes: the container id, the path to its namespace, and what to record about its owner.

    `lock` is the descriptor of the container's lock, which is held.
    """

    id: str
    netns: str
    owner: dict[str, str]
    lock: int


@dataclass(frozen=True, slots=True)
class Attacher:
    """Makes, repairs and removes attachments. The caller holds the container's lock."""

    runtime: Runtime
    cache: Cache
    networks: Networks
    locks: Locks
    forwarding: Forwarding
    rules: FirewallRules
    host: HostHalf
    leases: DHCPLeases
    history: History

    def attach(self, target: Target, request: NetworkRequest, past: PastAttachment | None = None) -> CacheEntry:
        """ADD, and let the traffic of its bridges through. Returns the record. If any of it fails, it is rolled back.

        The addresses and MAC that the container had there last (`past`) are preferred, not required: if they cannot be
        had, it gets others. Raises AttachFailed, UnknownNetwork, NetworkUnavailable, AddressTaken, AddressOutside,
        PortTaken, NoFreePort, LockHeld.
        """
        network = self.networks.catalogue().get(request.network)
        if (completed := preferred.complete(network, request, past)) != request:
            try:
                return self._attach(network, target, request, completed)
            except (AttachFailed, conflicts.AddressTaken, conflicts.AddressOutside) as error:
                if _timed_out(error) or is_shortage(error) or self._is_recorded(network, target, request):
                    # The preferred address was not the reason and a second ADD would take as long; or the roll-back
                    # failed, and a second ADD could only report that.
                    raise
                log.info("preferred address not available", id=target.id, network=network.name, reason=str(error))
        return self._attach(network, target, request, request)

    def detach(self, record: Record, *, alive: bool, lock: int) -> None:
        """DEL with what was recorded. Raises AttachFailed, and then the record stays for another try, or StateError."""
        entry = record.entry if alive else replace(record.entry, netns="")
        with self.locks.host():
            try:
                detach.delete(entry, self.runtime, self.cache, self.rules, self.host, lock)
            except (CNIError, HostError, RulesError) as error:
                raise AttachFailed.of(error) from error
            self.history.left(entry.container_id, entry.network, entry.ifname)
            try:
                self.forwarding.close(record.entry)
            except IptablesError as error:
                log.warning("forwarding not closed", id=entry.container_id, network=entry.network, reason=str(error))

    def repair(self, record: Record, repair: Repair, namespace: Namespace | None, lock: int) -> None:
        """Repair what a live attachment lacks, without touching its link. Raises AttachFailed, LeaseLost.

        `namespace` is the container's; None if nothing is to be done there.
        """
        try:
            if repair.host:
                self.host.repair(record.entry)
            if repair.link and namespace:
                container_half.repair(record.entry, repair, namespace)
            if repair.rules:
                with self.locks.host():
                    self.rules.repair(record.entry, repair.rules, lock)
            if repair.lease:
                self.leases.renew(record.entry, lock)
            if repair.store:
                host_local_leases.repair(record.entry)
        except (CNIError, OSError, HostError, RulesError) as error:
            raise AttachFailed.of(error) from error

    def open_forwarding(self, record: Record) -> None:
        """Let the traffic of a live attachment through FORWARD. Raises AttachFailed."""
        try:
            self.forwarding.open(record.entry)
        except IptablesError as error:
            raise AttachFailed.of(error) from error

    def check_unknown(self, record: Record, lock: int | None) -> None:
        """CHECK an attachment if it has a plugin whose work we cannot read from the kernel ourselves.

        For the other plugins the reference CHECK says no more than the kernel does, and on a layer-2 bridge it always
        fails. `lock` is the container's; None if it has to be taken yet. Raises AttachFailed, LockHeld.
        """
        network = parse_list(record.entry.config)
        if {plugin.type for plugin in network.plugins} <= PREDICTABLE:
            return
        if lock is None:
            with self.locks.container(record.entry.container_id) as taken:
                self.check_unknown(record, taken)
            return
        try:
            self.runtime.check(record.entry, (lock,))
        except VersionError:  # before 0.4.0 there is no CHECK
            return
        except CNIError as error:  # asking again repairs nothing: only a shortage is worth another try
            raise AttachFailed(str(error), Retry.SOON if is_shortage(error) else Retry.NEVER, error.code) from error

    def remember(self, entry: CacheEntry, netns_id: NetnsId) -> None:
        """Note in the history what the container has now: its preference next time, and proof that it is ours."""
        past = PastAttachment(
            entry.network,
            entry.ifname,
            records.addresses(entry),
            netns_id.boot,
            netns_id.cookie,
            attached=True,
            capability_args=dict(entry.capability_args),
            served=entry.served,
            mac=records.mac(entry),
        )
        try:
            self.history.remember(entry.container_id, past)
        except StateError as error:  # it is attached all the same
            log.warning("not remembered", id=entry.container_id, network=entry.network, reason=str(error))

    def _attach(
        self, network: NetworkList, target: Target, required: NetworkRequest, request: NetworkRequest
    ) -> CacheEntry:
        """ADD with `request`; the result has to have what is `required`."""
        fixed = [(port.protocol, port.host_ports[0]) for port in ports.fixed(request.ports)]
        with self.locks.host(), self.locks.ports(fixed) as claims:
            others = self._others(target.id) if request.ports or request.ips else []
            conflicts.refuse_outside(request.ips, network)
            conflicts.refuse_taken(request.ips, network.name, others)
            ports.refuse_taken(request.ports, map(conflicts.publisher, others), self.locks.daemon_pid())
            mappings = self._mappings(target.id, request.ports, claims.take)
            conf = RuntimeConf(
                container_id=target.id,
                netns=target.netns,
                ifname=request.ifname,
                args=_args(network, request, target.owner.get(records.NAME, "")),
                capability_args=_capability_args(network, request, mappings),
                owner=target.owner,
                inherit=(target.lock,),
            )
            _keep_advertisements(network, request)
            try:
                with self.forwarding.during_add(network):
                    entry = default_route.add(self.runtime, self.cache, self.networks, network, conf, request.rivals)
            except (CNIError, IptablesError) as error:
                self._settle_forwarding()
                raise AttachFailed.of(error) from error
            try:
                _verify(required, entry.attached)
                self.forwarding.open(entry)
                self._record_parent(entry)
            except (AttachFailed, CacheError, IptablesError) as error:
                failure = AttachFailed.of(error)
                if not self._roll_back(network, target, request.ifname):  # the next try has to do that
                    failure.retry = max(failure.retry, Retry.LATER)
                self._settle_forwarding()
                raise failure from error
        _announce(target, request.ifname, entry.attached)
        self.leases.watch(network)
        return entry

    def _is_recorded(self, network: NetworkList, target: Target, request: NetworkRequest) -> bool:
        try:
            return self.cache.read(network.name, target.id, request.ifname) is not None
        except CacheError:
            return True

    def _record_parent(self, entry: CacheEntry) -> None:
        """Note the parent of a macvlan without `master`: the link of the default route, which may change later.

        Only the report about a parent that is down depends on it. Raises CacheError.
        """
        if not parent_unknown(entry):
            return
        try:
            parent = self.host.parent(entry)
        except HostError as error:
            log.info("its parent is not known", id=entry.container_id, network=entry.network, reason=str(error))
            return
        self.cache.write(replace(entry, owner={**(entry.owner or {}), records.PARENT: parent}))

    def _roll_back(self, network: NetworkList, target: Target, ifname: str) -> bool:
        """Undo an ADD; whether that succeeded."""
        try:
            entry = self.cache.read(network.name, target.id, ifname)
            if entry:
                self.runtime.delete_recorded(entry, inherit=(target.lock,))
        except CNIError as error:
            log.warning("not rolled back", id=target.id, network=network.name, ifname=ifname, reason=str(error))
            return False
        return True

    def _settle_forwarding(self) -> None:
        try:
            self.forwarding.settle()
        except IptablesError as error:
            log.warning("forwarding not closed", reason=str(error))

    def _mappings(
        self, container_id: str, wanted: Sequence[PublishedPort], claim: ports.TryClaim
    ) -> list[dict[str, Any]]:
        """The port mappings, with free ports chosen where there is a choice.

        The records are read again after each choice: another ADD may have claimed such a port, recorded it and released
        its claim since they were read.
        """
        chosen = len(ports.fixed(wanted)) < len(wanted)
        taken = self._published(container_id) if chosen else set()
        while True:
            found = ports.mappings(wanted, taken, claim, self.locks.daemon_pid())
            taken = self._published(container_id) if chosen else set()
            if taken.isdisjoint((each["protocol"], each["hostPort"]) for each in found):
                return found

    def _published(self, container_id: str) -> set[tuple[str, int]]:
        return {port for entry in self._others(container_id) for port in ports.published(entry.capability_args)}

    def _others(self, container_id: str) -> list[CacheEntry]:
        return [entry for entry in self.cache.entries() if entry.container_id != container_id]


def _capability_args(
    network: NetworkList, request: NetworkRequest, mappings: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    declared = network.capabilities
    found: dict[str, Any] = {}
    if request.ips and "ips" in declared:
        found["ips"] = [str(address) for address in request.ips]
    if request.mac and "mac" in declared:
        found["mac"] = request.mac
    if mappings:
        found["portMappings"] = list(mappings)
    return found


def _args(network: NetworkList, request: NetworkRequest, name: str) -> tuple[tuple[str, str], ...]:
    """CNI_ARGS: what was asked for by label, and the address and MAC that no plugin takes as a capability.

    Never both ways: host-local would give an address for each. DHCP servers learn the container's name by HOSTNAME.
    """
    declared = network.capabilities
    args = dict(request.args)
    if request.ips and "ips" not in declared:
        args["IP"] = ",".join(map(str, request.ips))
    if request.mac and "mac" not in declared:
        args["MAC"] = request.mac
    if name and any(dhcp.socket_of(plugin.raw) for plugin in network.plugins):
        args.setdefault("HOSTNAME", name)
    if args:
        args.setdefault("IgnoreUnknown", "1")  # bridge knows only MAC, host-local only IP
    return tuple(args.items())


def _announce(target: Target, ifname: str, result: Result) -> None:
    """Tell the neighbours: the container may have the address of its last run, with another hardware address."""
    try:
        with Namespace.open(target.netns) as namespace:
            announce(namespace, ifname, [address.ip for address in result.addresses_of(ifname)])
    except OSError as error:  # the neighbours' caches expire; that only takes longer
        log.debug("not announced", id=target.id, ifname=ifname, reason=str(error))


def _timed_out(error: DockercniError) -> bool:
    cause = error.__cause__
    return isinstance(cause, CNIError) and cause.code == ErrorCode.TRY_AGAIN_LATER


def _keep_advertisements(network: NetworkList, request: NetworkRequest) -> None:
    """Before the first IPv6 network makes this host a router: executables do not preserve its own default route."""
    if may_route_ipv6(network, request.ips):
        try:
            kept = routing.keep_advertisements()
        except OSError as error:
            raise AttachFailed.of(error) from error
        for link in kept:
            reason = "this host will forward IPv6, and learns its own routes by router advertisement"
            log.info("accept_ra set to 2", link=link, network=network.name, reason=reason)


def _verify(request: NetworkRequest, result: Result) -> None:
    """A plugin that ignores a requested address has not done what was asked for. Raises AttachFailed."""
    given = {address.address.ip for address in result.ips}
    if missing := [str(address) for address in request.ips if address not in given]:
        got = ", ".join(map(str, given)) or "none"
        raise AttachFailed(
            f"requested address {', '.join(missing)} was not given (got {got}): the network's IPAM ignores it",
            Retry.NEVER,
        )
