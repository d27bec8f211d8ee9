"""The host's half of attachments: detected when something of it is missing, and repaired in place.

No other program would repair it, and without it there is no traffic. Neither the link in the container nor its lease is
touched.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from dockercni.cni import CacheEntry, CNIError
from dockercni.linux import addr, links, routing, sysctl
from dockercni.linux.announce import announce
from dockercni.linux.links import Link
from dockercni.linux.netlink import Message, Netlink
from dockercni.linux.netns import Namespace
from dockercni.model import IPNetwork
from dockercni.plugins import bridge_ports
from dockercni.plugins.addresses import Prefixed
from dockercni.plugins.bridge_conf import BridgeConf
from dockercni.reconcile.failure import Failure
from dockercni.reconcile.host_needs import Needs, find_port, lacking, needs, unusable
from dockercni.reconcile.locks import Locks

_FRESH: Final = 2.0  # seconds for which one observation serves many containers

log = structlog.get_logger()


class HostError(Failure):
    """The host's links cannot be read or changed now."""


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The host at one moment; everything is read when it is first needed, and once for all attachments.

    Reading a link by its name costs 50 us, whether there are ten or a thousand; a list of all costs that for each.
    """

    netlink: Netlink
    when: float = field(default_factory=time.monotonic)
    _links: dict[str, Link | None] = field(default_factory=dict)
    _addresses: dict[int, frozenset[Prefixed]] = field(default_factory=dict)
    _settings: dict[str, str] = field(default_factory=dict)
    _routes: dict[tuple[int, int], frozenset[IPNetwork]] = field(default_factory=dict)

    def link(self, name: str) -> Link | None:
        if name not in self._links:
            self._links[name] = links.find(self.netlink, name)
        return self._links[name]

    def addresses(self, link: Link) -> frozenset[Prefixed]:
        if link.index not in self._addresses:
            assigned = addr.addresses(self.netlink, link.index)
            self._addresses[link.index] = frozenset(each.address for each in assigned if not each.refused)
        return self._addresses[link.index]

    def leads(self, link: Link, destination: IPNetwork) -> bool:
        key = link.index, destination.version
        if key not in self._routes:  # routes over a link of a VRF are in the table of that VRF
            self._routes[key] = frozenset(path.dst for path in addr.routes_over(self.netlink, *key))
        return destination in self._routes[key]

    def setting(self, name: str) -> str:
        if name not in self._settings:
            try:
                self._settings[name] = sysctl.read(name)
            except OSError:  # the link is gone, or the kernel has no IPv6
                self._settings[name] = ""
        return self._settings[name]


class HostHalf:
    """Looks after what recorded attachments need of the host. Thread-safe."""

    def __init__(self, locks: Locks) -> None:
        self._locks = locks
        self._guard = threading.Lock()
        self._last: _Snapshot | None = None

    def missing(self, entries: Iterable[CacheEntry]) -> dict[str, list[str]]:
        """For each interface name what it lacks and `repair` can restore. Raises HostError."""
        found = {}
        for entry in entries:
            wanted = needs(entry)
            if self._lacking(wanted, _FRESH) and (words := self._lacking(wanted, 0.0)):  # it may have been made since
                found[entry.ifname] = words
        return found

    def broken(self, entries: Iterable[CacheEntry]) -> dict[str, list[str]]:
        """For each interface name what is wrong with links of the administrator. Raises HostError."""
        with self._guard, _errors():
            host = self._snapshot(_FRESH)
            return {entry.ifname: found for entry in entries if (found := list(unusable(needs(entry), host)))}

    def lacking(self, entries: Sequence[CacheEntry]) -> set[str]:
        """The ids of the containers that lack something now, also of those whose port is gone, and with it their link.

        Raises HostError.
        """
        concerned = [(entry, wanted) for entry in entries if (wanted := needs(entry)).names]
        self.invalidate()
        with self._guard, _errors():
            host = self._snapshot(_FRESH)
            return {
                entry.container_id
                for entry, wanted in concerned
                if any(lacking(wanted, host))
                or any(unusable(wanted, host))
                or (wanted.port and not find_port(wanted, host))
            }

    def port(self, entry: CacheEntry) -> Link | None:
        """The host's end of an attachment's link now; None if it has none, or it is gone. Raises HostError."""
        with self._guard, _errors():
            return find_port(needs(entry), self._snapshot(0.0))

    def parent(self, entry: CacheEntry) -> str:
        """The name of the host's link that the attachment's own sits on; "" if there is none. Raises HostError."""
        with _errors(), Namespace.open(entry.netns) as namespace, namespace.run(Netlink) as container:
            inside = links.find(container, entry.ifname)
        with _errors(), Netlink() as host:
            found = links.at(host, inside.peer) if inside and inside.peer else None
        return found.name if found else ""

    def invalidate(self) -> None:
        """Something has changed: observe anew when next asked."""
        with self._guard:
            self._drop()

    def repair(self, entry: CacheEntry) -> None:
        """Repair what is missing. Raises HostError."""
        wanted = needs(entry)
        lock = self._locks.bridge(wanted.bridge.bridge) if wanted.bridge else contextlib.nullcontext()
        # one repair at a time: a bridge has to get its old MAC before another repair pins a different one
        with lock, _errors(), Netlink() as host:
            _repair(wanted, host)
        self.invalidate()

    def remove_port(self, entry: CacheEntry) -> None:
        """Remove the host's end of a link that a DEL did not find, because the container moved it elsewhere."""
        if port := self.port(entry):
            with _errors(), Netlink() as host:
                host.try_all([links.delete(port.index)])

    def _lacking(self, wanted: Needs, age: float) -> list[str]:
        with self._guard, _errors():
            return list(lacking(wanted, self._snapshot(age)))

    def _snapshot(self, age: float) -> _Snapshot:
        if self._last is None or time.monotonic() - self._last.when > age:
            self._drop()
            self._last = _Snapshot(Netlink())
        return self._last

    def _drop(self) -> None:
        if self._last:
            self._last.netlink.close()
            self._last = None


def _repair(wanted: Needs, host: Netlink) -> None:
    port = find_port(wanted, _Snapshot(host))
    if port is None:
        return
    conf = wanted.bridge
    bearer, moved = _join(wanted, conf, host, port) if conf else (port, False)
    host.do(links.set_flags(port.index, on=links.UP))
    _lead(wanted, conf, host, bearer)
    for version in wanted.forwarding:
        routing.forward(version)
    if 4 in wanted.forwarding:
        sysctl.write(f"net/ipv4/conf/{bearer.name}/forwarding", "1")
    if wanted.localnet:
        sysctl.write(f"net/ipv4/conf/{bearer.name}/route_localnet", "1")
    if moved:  # containers that started meanwhile know the other MAC
        with contextlib.suppress(OSError), Namespace.of_process(os.getpid()) as own:
            announce(own, bearer.name, [address.ip for address in wanted.gateways])


def _lead(wanted: Needs, conf: BridgeConf | None, host: Netlink, bearer: Link) -> None:
    """Give the bearer the gateways' addresses, and the routes over it."""
    if any(address.version == 6 for address in wanted.gateways):
        _switch_ipv6_on(bearer.name)
    for address in wanted.gateways:
        if conf:
            bridge_ports.ensure_address(host, bearer, address, force=conf.force_address, again=True)
        else:
            _tolerant(host, addr.add_address(bearer.index, address, again=True))
    seen = _Snapshot(host)  # an address, or the link going up, makes the kernel add routes
    for address in wanted.gateways:
        if address.network in wanted.routes and not seen.leads(bearer, address.network):
            _tolerant(host, addr.add_subnet_route(bearer.index, address))
    for target in wanted.targets:
        _tolerant(host, addr.add_host_route(bearer.index, target))


def _join(wanted: Needs, conf: BridgeConf, host: Netlink, port: Link) -> tuple[Link, bool]:
    """Make the link a port of its bridge, and the bridge if it is gone, as they were.

    Returns the link that bears the gateway's address, and whether it has another MAC now: the one of before, by which
    the containers know their gateway.
    """
    bridge, moved = bridge_ports.ensure_bridge(host, conf), False
    if port.master != bridge.index:
        host.do(links.set_master(port.index, bridge.index))
        bridge_ports.settle_port(host, port.name, conf, conf.trunk)
        if wanted.mac not in {"", bridge.mac}:
            host.do(links.set_mac(bridge.index, wanted.mac))
            bridge, moved = replace(bridge, mac=wanted.mac), True
        log.info("port repaired", bridge=conf.bridge, port=port.name)
    elif port.operational and not port.forwarding and not bridge.spanning:
        host.do(links.set_forwarding(port.index))
    bridge_ports.set_flags(host, port.name, conf)
    if conf.vlan and conf.gateway:
        return bridge_ports.ensure_vlan_gateway(host, bridge, conf), moved
    return bridge, moved


def _switch_ipv6_on(link: str) -> None:
    """Let a link have IPv6 addresses again, unless IPv6 is disabled on the whole host."""
    setting = "net/ipv6/conf/{}/disable_ipv6"
    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
        if sysctl.read(setting.format(link)) == "1" and sysctl.read(setting.format("all")) == "0":
            sysctl.write(setting.format(link), "0")


def _tolerant(host: Netlink, change: Message) -> None:
    for error in host.try_all([change]):
        if error.errno != errno.EEXIST:
            raise error


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except (CNIError, OSError) as error:
        raise HostError.of(error) from error
