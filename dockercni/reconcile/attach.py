"""Carries actions out: ADD, DEL, roll back, and the rules that let traffic through."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import structlog

from dockercni.cni import (
    EXEC,
    Cache,
    CacheEntry,
    CacheError,
    ChainError,
    CNIError,
    ErrorCode,
    NetworkList,
    PluginError,
    PluginNotFound,
    PluginTimeout,
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
from dockercni.model import NetworkRequest, PublishedPort
from dockercni.plugins import dhcp
from dockercni.plugins.registry import ENGINE as NATIVE
from dockercni.plugins.table import NATIVE as KINDS
from dockercni.reconcile import addresses, container_half, default_route, ports, preferred, records, stored_leases
from dockercni.reconcile.forwarding import Forwarding
from dockercni.reconcile.history import History, PastAttachment
from dockercni.reconcile.host_half import HostError, HostHalf
from dockercni.reconcile.host_needs import may_route_ipv6, parent_untold
from dockercni.reconcile.leases import Leases
from dockercni.reconcile.locks import Locks
from dockercni.reconcile.networks import Networks
from dockercni.reconcile.plan import Repair
from dockercni.reconcile.ports import Publisher
from dockercni.reconcile.records import PREDICTABLE, Record
from dockercni.reconcile.rules import Rules, RulesError
from dockercni.reconcile.sandbox import lives_in

log = structlog.get_logger()


class AttachFailed(DockercniError):
    """An ADD or DEL failed; the message says which plugin said what, `code` its CNI error code."""

    def __init__(self, message: str, retry: Retry = Retry.LATER, code: int = 0) -> None:
        super().__init__(message)
        self.retry = retry
        self.code = code

    @classmethod
    def add(cls, error: CNIError) -> Self:
        """Of an ADD: what the first plugin that failed said, and then what its roll-back could not take back."""
        notes = getattr(error, "__notes__", ())
        return cls("; ".join([str(error), *notes]), _retry(error, taken_back=not notes), error.code)


@dataclass(frozen=True, slots=True)
class Target:
    """Where an attachment goes: the id to use, its namespace and the path to it, and what to record of its owner.

    `lock` is the descriptor of the container's lock, which is held.
    """

    id: str
    netns: str
    owner: dict[str, str]
    lock: int


@dataclass(frozen=True, slots=True)
class Attacher:
    """Runs ADD and DEL for requests and records. The caller holds the container's lock."""

    runtime: Runtime
    cache: Cache
    networks: Networks
    locks: Locks
    forwarding: Forwarding
    rules: Rules
    host: HostHalf
    leases: Leases
    history: History

    def attach(self, target: Target, request: NetworkRequest, past: PastAttachment | None = None) -> Result:
        """ADD, and let the traffic of its bridges through. All of it is taken back if any of it fails.

        What the container `had` last on that interface is asked for again, and unlike what is requested no condition.
        Raises AttachFailed, UnknownNetwork, NetworkUnavailable, AddressTaken, PortTaken, NoFreePort, LockHeld.
        """
        network = self.networks.catalogue().get(request.network)
        if (completed := preferred.complete(network, request, past)) != request:
            try:
                return self._attach(network, target, request, completed)
            except (AttachFailed, addresses.AddressTaken, addresses.AddressOutside) as error:
                if _time_is_up(error) or is_shortage(error) or self._is_recorded(network, target, request):
                    # It was not for the address, and another try would take as long; or it could not be taken back, and
                    # another one would only say that.
                    raise
                log.info("address not to be had again", id=target.id, network=network.name, reason=str(error))
        return self._attach(network, target, request, request)

    def _is_recorded(self, network: NetworkList, target: Target, request: NetworkRequest) -> bool:
        try:
            return self.cache.read(network.name, target.id, request.ifname) is not None
        except CacheError:
            return True

    def _attach(
        self, network: NetworkList, target: Target, required: NetworkRequest, request: NetworkRequest
    ) -> Result:
        """ADD with `request`; the result has to have what is `required`."""
        fixed = [(port.protocol, port.host_ports[0]) for port in ports.fixed(request.ports)]
        with self.locks.host(), self.locks.ports(fixed) as claims:
            others = self._others(target.id) if request.ports or request.ips else []
            addresses.refuse_outside(request.ips, network)
            addresses.refuse_taken(request.ips, network.name, others)
            ports.refuse_taken(request.ports, map(_publisher, others), self.locks.daemon_pid())
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
                with self.forwarding.coming(network):
                    entry = default_route.add(self.runtime, self.cache, self.networks, network, conf, request.rivals)
            except CNIError as error:
                self._tidy()
                raise AttachFailed.add(error) from error
            except IptablesError as error:
                self._tidy()
                raise AttachFailed(str(error)) from error
            try:
                _verify(required, entry.attached)
                self.forwarding.open(entry)
                self._record_parent(entry)
            except (AttachFailed, CacheError, IptablesError) as error:
                self._take_back(network, target, request.ifname)
                self._tidy()
                raise AttachFailed(str(error)) from error
        _announce(target, request.ifname, entry.attached)
        self.leases.watch(network)
        return entry.attached

    def _record_parent(self, entry: CacheEntry) -> None:
        """Note the link that a macvlan without `master` sits on: the default route's, which may be another one later.

        Nothing but the words about a parent that is down depends on it. Raises CacheError.
        """
        if not parent_untold(entry):
            return
        try:
            parent = self.host.parent(entry)
        except HostError as error:
            log.info("its parent is not known", id=entry.container_id, network=entry.network, reason=str(error))
            return
        self.cache.write(replace(entry, owner={**(entry.owner or {}), records.PARENT: parent}))

    def detach(self, record: Record, *, alive: bool, lock: int) -> None:
        """DEL with what was recorded. Raises AttachFailed, and then the record stays for another try, or StateError."""
        entry = record.entry if alive else replace(record.entry, netns="")
        with self.locks.host():
            try:
                self._delete(entry, lock)
            except (CNIError, HostError, RulesError) as error:
                raise AttachFailed(str(error)) from error
            self.history.left(entry.container_id, entry.network, entry.ifname)
            try:
                self.forwarding.close(record.entry)
            except IptablesError as error:
                log.warning("forwarding not closed", id=entry.container_id, network=entry.network, reason=str(error))

    def _delete(self, entry: CacheEntry, lock: int) -> None:
        # Plugins that find the interface must find their rules, too: the reference bridge fails on a missing chain.
        if not container_half.enter_for_del(entry, partial(self.host.port, entry)):
            self.rules.sweep(entry, shared=self._shared(entry))
        try:
            self.runtime.delete_recorded(entry, inherit=(lock,))
        except ChainError as error:
            # The reference bridge and portmap fail on rules that somebody flushed, or that another interface of the
            # container shares; and executables may have been removed since. Rules are swept, and the rest is the same
            # for both: links and leases that an executable made can be taken back by the plugin of this process.
            failed = {failure.plugin for failure in error.failures if isinstance(failure, PluginError | PluginNotFound)}
            if not failed & KINDS.keys() or any(isinstance(failure, PluginTimeout) for failure in error.failures):
                raise
            self.rules.sweep(entry, shared=self._shared(entry))
            self.runtime.delete_recorded(_without(entry, failed), inherit=(lock,))
        # An executable may say that it is done and have done nothing. Should its address have a new owner already, what
        # is taken from that one here is noticed as wiped, and put back.
        self.rules.sweep(entry, shared=self._shared(entry))
        self.host.remove_port(entry)

    def repair(self, record: Record, repair: Repair, namespace: Namespace | None, lock: int) -> None:
        """Put back what a live attachment lacks, without touching its link. Raises AttachFailed, LeaseLost.

        `namespace` is the container's; None if nothing is to be done there.
        """
        try:
            if repair.host:
                self.host.repair(record.entry)
            if repair.link and namespace:
                container_half.put_back(record.entry, repair, namespace)
            if repair.rules:
                with self.locks.host():
                    self.rules.repair(record.entry, repair.rules, lock)
            if repair.lease:
                self.leases.renew(record.entry, lock)
            if repair.store:
                stored_leases.put_back(record.entry)
        except (CNIError, OSError, HostError, RulesError) as error:
            raise AttachFailed(str(error)) from error

    def let_through(self, record: Record) -> None:
        """See to it that the traffic of a live attachment passes. Raises AttachFailed."""
        try:
            self.forwarding.open(record.entry)
        except IptablesError as error:
            raise AttachFailed(str(error)) from error

    def check_unknown(self, record: Record, lock: int | None) -> None:
        """CHECK an attachment if a plugin of it is one whose traces in the kernel we cannot read ourselves.

        The reference CHECK of the others says no more than the kernel does, and less on an L2 bridge, where it always
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
        except CNIError as error:
            raise AttachFailed(str(error)) from error

    def _tidy(self) -> None:
        try:
            self.forwarding.settle()
        except IptablesError as error:
            log.warning("forwarding not closed", reason=str(error))

    def _shared(self, entry: CacheEntry) -> bool:
        """Whether the container has another attachment to the same network: some rules are for both."""
        return any(
            other.network == entry.network and other.ifname != entry.ifname
            for other in self.cache.entries(entry.container_id)
        )

    def _mappings(self, container_id: str, wanted: Sequence[PublishedPort], claim: ports.Claim) -> list[dict[str, Any]]:
        """The port mappings, chosen so that nobody publishes the same: who claimed one first may have recorded it and
        let it go since the records were read.
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

    def _take_back(self, network: NetworkList, target: Target, ifname: str) -> None:
        try:
            entry = self.cache.read(network.name, target.id, ifname)
            if entry:
                self.runtime.delete_recorded(entry, inherit=(target.lock,))
        except CNIError as error:
            log.warning("not taken back", id=target.id, network=network.name, ifname=ifname, reason=str(error))

    def _others(self, container_id: str) -> list[CacheEntry]:
        return [entry for entry in self.cache.entries() if entry.container_id != container_id]


def _retry(error: CNIError, *, taken_back: bool) -> Retry:
    """When another ADD makes sense. What could not be taken back has to be, whatever the ADD failed for."""
    if is_shortage(error):
        return Retry.SOON
    return Retry.NEVER if error.permanent and taken_back else Retry.LATER


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


def _publisher(entry: CacheEntry) -> Publisher:
    name = (entry.owner or {}).get(records.NAME, "") or entry.container_id[:12]
    versions = frozenset(ip.address.version for ip in records.given(entry).ips) if entry.complete else frozenset((4, 6))
    return Publisher(name, entry.capability_args, partial(_alive, entry), versions)


def _alive(entry: CacheEntry) -> bool:
    """Whether an attachment serves somebody. The path of its namespace may be a pin that outlives the container."""
    owner = entry.owner
    try:
        with Namespace.open(entry.netns) as namespace:
            if owner is None:  # another runtime's, whose containers we do not know
                return bool(namespace.processes())
            return owner.get(records.BY) == records.BY_PATH or lives_in(namespace, entry.container_id)
    except OSError:
        return False


def _args(network: NetworkList, request: NetworkRequest, name: str) -> tuple[tuple[str, str], ...]:
    """CNI_ARGS: what was asked for by label, and the address and MAC that no plugin takes as a capability.

    Never both ways: host-local adds them up. A DHCP server may be told the container's name: see docs/networks.md.
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
    """A container often has the address that it had in an earlier life, but never the same hardware address."""
    try:
        with Namespace.open(target.netns) as namespace:
            announce(namespace, ifname, [address.ip for address in result.addresses_of(ifname)])
    except OSError as error:  # they find out by themselves, only later
        log.debug("not announced", id=target.id, ifname=ifname, reason=str(error))


def _time_is_up(error: DockercniError) -> bool:
    cause = error.__cause__
    return isinstance(cause, CNIError) and cause.code == ErrorCode.TRY_AGAIN_LATER


def _keep_advertisements(network: NetworkList, request: NetworkRequest) -> None:
    """Before the first IPv6 network makes this host a router: executables do not look after its own default route."""
    if may_route_ipv6(network, request.ips):
        try:
            kept = routing.keep_advertisements()
        except OSError as error:
            raise AttachFailed(str(error)) from error
        for link in kept:
            reason = "this host is going to forward IPv6, and its own routes come by router advertisement"
            log.info("accept_ra set to 2", link=link, network=network.name, reason=reason)


def _verify(request: NetworkRequest, result: Result) -> None:
    """A plugin that ignores a requested address has not done what was asked for."""
    given = {address.address.ip for address in result.ips}
    if missing := [str(address) for address in request.ips if address not in given]:
        got = ", ".join(map(str, given)) or "none"
        raise AttachFailed(
            f"requested address {', '.join(missing)} was not given (got {got}): the network's IPAM ignores it"
        )


def _without(entry: CacheEntry, failed: Collection[str]) -> CacheEntry:
    """The entry with these types of plugins served in this process, as far as there are such."""
    types = [plugin.type for plugin in parse_list(entry.config).plugins]
    engines = entry.served or (EXEC,) * len(types)
    served = (
        NATIVE if kind in failed and kind in KINDS else engine for kind, engine in zip(types, engines, strict=True)
    )
    return replace(entry, served=tuple(served))
