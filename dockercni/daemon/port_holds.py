"""Holds each published port with a socket while the daemon runs, so that no other program can bind it unnoticed.

Traffic to the port is redirected before it reaches the socket. A program that tries to bind the port gets "address
already in use", and ss names the daemon. What is not redirected ([::1]) is refused at once.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import structlog

from dockercni.cni import CacheEntry
from dockercni.linux import descriptors
from dockercni.reconcile import records
from dockercni.reconcile.ports import Place

_KINDS: Final = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_BIND_TO_INDEX: Final = 62  # SO_BINDTOIFINDEX, Linux 5.0
_NOWHERE: Final = 0x7FFFFFFF  # the index of no link
_NO_MORE: Final = {errno.EMFILE, errno.ENFILE}
_NAMED: Final = 3  # ports that a message names

log = structlog.get_logger()


class PortHolds:
    """The sockets, by container. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held: dict[str, dict[Place, int]] = {}
        self._kept: dict[str, frozenset[tuple[str, str, str]]] = {}
        self._reported: dict[str, str] = {}

    def update(self, container_id: str, entries: Iterable[CacheEntry]) -> None:
        """Hold exactly the ports that these attachments of the container publish."""
        complete = [entry for entry in entries if entry.complete]
        wanted = {port for entry in complete for port in published(entry)}
        with self._guard:
            held = self._held.setdefault(container_id, {})
            self._kept[container_id] = _attachments(complete)
            for port in held.keys() - wanted:
                os.close(held.pop(port))
            refused: dict[str, list[Place]] = {}
            coming = sorted(wanted - held.keys())
            for number, port in enumerate(coming):
                try:
                    if (fd := _reserve(port)) is not None:
                        held[port] = fd
                except OSError as error:
                    exhausted = error.errno in _NO_MORE  # and all others, maybe thousands, would fail as well
                    refused.setdefault(error.strerror or str(error), []).extend(
                        coming[number:] if exhausted else [port]
                    )
                    if exhausted:
                        break
            self._report(container_id, refused)
            if not held:
                self._forget(container_id)

    def follow(self, entries: Mapping[str, Collection[CacheEntry]]) -> None:
        """Release what no record has any more: commands remove attachments beside the daemon."""
        with self._guard:
            changed = [
                each
                for each in self._held
                if self._kept.get(each) != _attachments(entry for entry in entries.get(each, ()) if entry.complete)
            ]
        for container_id in changed:
            self.update(container_id, entries.get(container_id, ()))

    def _report(self, container_id: str, refused: Mapping[str, list[Place]]) -> None:
        """Log once for each container and reason: the ports are published all the same."""
        reasons = "; ".join(
            f"{reason} ({', '.join(f'{port.address}:{port.number}/{port.protocol}' for port in ports[:_NAMED])}"
            f"{', ...' if len(ports) > _NAMED else ''})"
            for reason, ports in refused.items()
        )
        if reasons and self._reported.get(container_id) != reasons:
            number = sum(map(len, refused.values()))
            log.warning("published, but not reserved", id=container_id, ports=number, reason=reasons)
        self._reported[container_id] = reasons

    def _forget(self, container_id: str) -> None:
        for known in (self._held, self._kept):
            known.pop(container_id, None)
        if not self._reported.get(container_id):
            self._reported.pop(container_id, None)


def published(entry: CacheEntry) -> Iterable[Place]:
    """The ports of the host that lead to an attachment, in each family in which the container can be reached."""
    return (place for place, _ in records.places(entry))


def _attachments(entries: Iterable[CacheEntry]) -> frozenset[tuple[str, str, str]]:
    return frozenset((entry.network, entry.ifname, str(entry.owner)) for entry in entries)


def _reserve(port: Place) -> int | None:
    """A descriptor above 1023 that holds the port; None for what cannot be held. Raises OSError."""
    if port.protocol not in _KINDS:
        return None
    family = socket.AF_INET6 if ":" in port.address else socket.AF_INET
    with socket.socket(family, _KINDS[port.protocol] | socket.SOCK_CLOEXEC) as reserved:
        if family == socket.AF_INET6:
            reserved.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if port.protocol == "tcp":  # connections in TIME_WAIT do not count
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            reserved.bind((port.address, port.number))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            return None  # an address that the host does not have yet can be published, but not bound
        _receive_nothing(reserved)
        return descriptors.move_up(reserved.detach())


def _receive_nothing(reserved: socket.socket) -> None:
    """Keep packets from the socket: a listening socket that never accepts would let clients wait instead of refusing.

    Bound to a link that does not exist (SO_BINDTOIFINDEX, Linux 5.0), the socket still blocks the port for others but
    receives no packet. On older kernels a TCP socket that does not listen has the same effect, except that a server
    with SO_REUSEADDR can bind the port and fails only when it listens.
    """
    try:
        reserved.setsockopt(socket.SOL_SOCKET, _BIND_TO_INDEX, _NOWHERE)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        return
    if reserved.type == socket.SOCK_STREAM:
        reserved.listen(0)
