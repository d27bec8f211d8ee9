"""Published ports are held by a listening socket while the daemon runs, so that nobody takes one without a word.

What comes to the port never reaches the socket: it is redirected before. It is there for whoever wants to bind the
port, who gets "address already in use" and, from ss, our name.
"""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterable, Iterator
from typing import Final

import structlog

from dockercni.cni import CacheEntry
from dockercni.reconcile import records
from dockercni.reconcile.ports import recorded

Port = tuple[str, str, int]  # protocol, address ("0.0.0.0" and "::" for any), number

_KINDS: Final = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_ANY: Final = {4: "0.0.0.0", 6: "::"}  # noqa: S104  it is about all addresses of the host

log = structlog.get_logger()


class Reservations:
    """The sockets, by container. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held: dict[str, dict[Port, socket.socket]] = {}

    def update(self, container_id: str, entries: Iterable[CacheEntry]) -> None:
        """Hold exactly the ports that these attachments of the container publish."""
        wanted = {port for entry in entries if entry.complete for port in published(entry)}
        with self._guard:
            held = self._held.pop(container_id, {})
            for port in held.keys() - wanted:
                held.pop(port).close()
            for port in wanted - held.keys():
                if (reserved := _reserve(port)) is not None:
                    held[port] = reserved
            if held:
                self._held[container_id] = held

    def close(self) -> None:
        """Let all of them go."""
        with self._guard:
            for held in self._held.values():
                for reserved in held.values():
                    reserved.close()
            self._held.clear()


def published(entry: CacheEntry) -> Iterator[Port]:
    """The ports of the host that an attachment takes: of each family in which the container can be reached."""
    versions = sorted({ip.address.version for ip in records.given(entry).ips})
    for mapping in recorded(entry.capability_args):
        host = mapping.get("hostIP", "")
        for version in versions:
            if not host:
                yield mapping["protocol"], _ANY[version], mapping["hostPort"]
            elif (":" in host) == (version == 6):
                yield mapping["protocol"], host, mapping["hostPort"]


def _reserve(port: Port) -> socket.socket | None:
    protocol, address, number = port
    if protocol not in _KINDS:
        return None
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    reserved = socket.socket(family, _KINDS[protocol] | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            reserved.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":  # connections that have just ended are nobody's claim
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((address, number))
        if protocol == "tcp":
            reserved.listen(0)
    except OSError as error:
        reserved.close()
        if (
            error.errno != errno.EADDRNOTAVAIL
        ):  # an address that the host does not have yet can be published all the same
            log.warning("port not reserved", port=f"{address}:{number}/{protocol}", reason=error.strerror)
        return None
    return reserved
