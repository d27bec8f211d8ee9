"""Carries actions out: ADD, DEL, roll back, and the rules that let traffic through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog

from dockercni.cni import (
    OLDEST,
    Cache,
    CacheEntry,
    CacheError,
    CNIError,
    NetworkList,
    Result,
    Runtime,
    RuntimeConf,
    parse_result,
)
from dockercni.errors import DockercniError
from dockercni.kernel import links
from dockercni.kernel.iptables import IptablesError
from dockercni.kernel.namespaces import Namespace
from dockercni.model import NetworkRequest
from dockercni.reconcile import addresses, ports, records
from dockercni.reconcile.forwarding import Forwarding
from dockercni.reconcile.locks import Locks
from dockercni.reconcile.networks import Networks
from dockercni.reconcile.ports import Publisher
from dockercni.reconcile.records import Record

log = structlog.get_logger()


class AttachFailed(DockercniError):
    """An ADD or DEL failed, for a reason that may pass; the message says which plugin said what."""

    retry = True


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

    def attach(self, target: Target, request: NetworkRequest) -> Result:
        """ADD, and let the traffic of its bridges through. All of it is taken back if any of it fails.

        Raises AttachFailed, UnknownNetwork, NetworkUnavailable, AddressTaken, PortTaken, NoFreePort,
        LockHeld.
        """
        network = self.networks.catalogue().get(request.network)
        fixed = [(port.protocol, port.host_ports[0]) for port in ports.fixed(request.ports)]
        with self.locks.host(), self.locks.ports(fixed):
            others = self._others(target.id) if request.ports or request.ips else []
            addresses.refuse_taken(request.ips, network.name, others)
            ports.refuse_taken(request.ports, map(_publisher, others))
            conf = RuntimeConf(
                container_id=target.id,
                netns=target.netns,
                ifname=request.ifname,
                args=_args(network, request),
                capability_args=_capability_args(network, request, others),
                owner=target.owner,
                inherit=(target.lock,),
            )
            try:
                result = self.runtime.add(network, conf)
            except CNIError as error:
                raise AttachFailed("; ".join([str(error), *getattr(error, "__notes__", ())])) from error
            try:
                _verify(request, result)
                for bridge in _bridges(result):
                    self.forwarding.open(bridge)
            except (AttachFailed, IptablesError) as error:
                self._take_back(network, target, request.ifname)
                raise AttachFailed(str(error)) from error
        return result

    def detach(self, record: Record, *, alive: bool, lock: int) -> None:
        """DEL with what was recorded. Raises AttachFailed; the record then stays, for another try."""
        entry = record.entry if alive else replace(record.entry, netns="")
        with self.locks.host():
            try:
                self.runtime.delete_recorded(entry, inherit=(lock,))
            except CNIError as error:
                raise AttachFailed(str(error)) from error
            for bridge in _recorded_bridges(record):
                try:
                    self.forwarding.close(bridge)
                except IptablesError as error:
                    log.warning("forwarding not closed", bridge=bridge, reason=str(error))

    def _take_back(self, network: NetworkList, target: Target, ifname: str) -> None:
        try:
            entry = self.cache.read(network.name, target.id, ifname)
            if entry:
                self.runtime.delete_recorded(entry, inherit=(target.lock,))
        except CNIError as error:
            log.warning("not taken back", id=target.id, network=network.name, ifname=ifname, reason=str(error))

    def _others(self, container_id: str) -> list[CacheEntry]:
        entries = (entry for entry in self.cache.entries() if not isinstance(entry, CacheError))
        return [entry for entry in entries if entry.container_id != container_id]


def _capability_args(network: NetworkList, request: NetworkRequest, others: Sequence[CacheEntry]) -> dict[str, Any]:
    declared = network.capabilities
    found: dict[str, Any] = {}
    if request.ips and "ips" in declared:
        found["ips"] = [str(address) for address in request.ips]
    if request.mac and "mac" in declared:
        found["mac"] = request.mac
    if request.ports:
        taken = (port for entry in others for port in ports.published(entry.capability_args))
        found["portMappings"] = ports.mappings(request.ports, taken)
    return found


def _publisher(entry: CacheEntry) -> Publisher:
    name = (entry.owner or {}).get(records.NAME, "") or entry.container_id[:12]
    return Publisher(name, entry.capability_args, partial(_inhabited, entry.netns))


def _inhabited(netns: str) -> bool:
    """Whether processes live in the namespace at that path: it may be a pin that outlives them."""
    try:
        with Namespace.open(netns) as namespace:
            return bool(namespace.processes())
    except OSError:
        return False


def _args(network: NetworkList, request: NetworkRequest) -> tuple[tuple[str, str], ...]:
    """CNI_ARGS: what was asked for by label, and the address and MAC that no plugin takes as a capability.

    Never both ways: host-local adds them up.
    """
    declared = network.capabilities
    args = dict(request.args)
    if request.ips and "ips" not in declared:
        args["IP"] = ",".join(map(str, request.ips))
    if request.mac and "mac" not in declared:
        args["MAC"] = request.mac
    if args:
        args.setdefault("IgnoreUnknown", "1")  # bridge knows only MAC, host-local only IP
    return tuple(args.items())


def _verify(request: NetworkRequest, result: Result) -> None:
    """A plugin that ignores a requested address has not done what was asked for."""
    given = {address.address.ip for address in result.ips}
    if missing := [str(address) for address in request.ips if address not in given]:
        got = ", ".join(map(str, given)) or "none"
        raise AttachFailed(
            f"requested address {', '.join(missing)} was not given (got {got}): the network's IPAM ignores it"
        )


def _bridges(result: Result) -> list[str]:
    """The bridges among the links that a result lists outside the container."""
    return [link.name for link in result.interfaces if not link.sandbox and link.name and links.is_bridge(link.name)]


def _recorded_bridges(record: Record) -> list[str]:
    if record.entry.result is None:
        return []
    try:
        return _bridges(parse_result(record.entry.result, OLDEST))
    except CNIError:  # DEL tolerates a damaged result, and so do we
        return []
