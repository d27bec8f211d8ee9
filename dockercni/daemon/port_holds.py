"""Published ports are held by a socket while the daemon runs, so that nobody takes one without a word.

What comes to the port never reaches the socket: it is redirected before. It is there for whoever wants to bind the
port, who gets "address already in use" and, from ss, our name. What is not redirected ([::1]) is refused at once.
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
_SAID: Final = 3  # ports that a message names

log = structlog.get_logger()


class PortHolds:
    """The sockets, by container. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held: dict[str, dict[Place, int]] = {}
        self._kept: dict[str, frozenset[tuple[str, str, str]]] = {}
        self._told: dict[str, str] = {}

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
                    exhausted = error.errno in _NO_MORE  # and so for each of what may be thousands
                    refused.setdefault(error.strerror or str(error), []).extend(
                        coming[number:] if exhausted else [port]
                    )
                    if exhausted:
                        break
            self._tell(container_id, refused)
            if not held:
                self._forget(container_id)

    def follow(self, entries: Mapping[str, Collection[CacheEntry]]) -> None:
        """Let go what the records of all containers no longer say: others take attachments back beside the daemon."""
        with self._guard:
            changed = [
                each
                for each in self._held
                if self._kept.get(each) != _attachments(entry for entry in entries.get(each, ()) if entry.complete)
            ]
        for container_id in changed:
            self.update(container_id, entries.get(container_id, ()))

    def _tell(self, container_id: str, refused: Mapping[str, list[Place]]) -> None:
        """Once for each container and reason: they are published all the same."""
        reasons = "; ".join(
            f"{reason} ({', '.join(f'{port.address}:{port.number}/{port.protocol}' for port in ports[:_SAID])}"
            f"{', ...' if len(ports) > _SAID else ''})"
            for reason, ports in refused.items()
        )
        if reasons and self._told.get(container_id) != reasons:
            number = sum(map(len, refused.values()))
            log.warning("published, but not reserved", id=container_id, ports=number, reason=reasons)
        self._told[container_id] = reasons

    def _forget(self, container_id: str) -> None:
        for known in (self._held, self._kept):
            known.pop(container_id, None)
        if not self._told.get(container_id):
            self._told.pop(container_id, None)


def published(entry: CacheEntry) -> Iterable[Place]:
    """The ports of the host that an attachment takes: of each family in which the container can be reached."""
    return (place for place, _ in records.places(entry))


def _attachments(entries: Iterable[CacheEntry]) -> frozenset[tuple[str, str, str]]:
    return frozenset((entry.network, entry.ifname, str(entry.owner)) for entry in entries)


def _reserve(port: Place) -> int | None:
    """The descriptor that holds the port, one out of the way; None for what cannot be held. Raises OSError."""
    if port.protocol not in _KINDS:
        return None
    family = socket.AF_INET6 if ":" in port.address else socket.AF_INET
    with socket.socket(family, _KINDS[port.protocol] | socket.SOCK_CLOEXEC) as reserved:
        if family == socket.AF_INET6:
            reserved.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if port.protocol == "tcp":  # connections that have just ended are nobody's claim
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            reserved.bind((port.address, port.number))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            return None  # an address that the host does not have yet can be published all the same
        _receive_nothing(reserved)
        return descriptors.move_up(reserved.detach())


def _receive_nothing(reserved: socket.socket) -> None:
    """Keep packets from the socket: a client is to be refused at once, and not to wait for somebody who never answers.

    A socket of a link that does not exist is in the way of all others that want the port, but no packet is for it.
    Older kernels know only names of links that exist. There a TCP socket that does not listen is refused, too; servers
    that insist (SO_REUSEADDR) may bind the port, and fail when they listen.
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
