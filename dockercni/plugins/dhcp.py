"""The daemon of the `dhcp` plugin, seen from outside: whether it runs, and which leases it renews.

It has no verb that tells. But it renews a lease from a thread in the container's namespace, and from its first question
to the server on; so where none of its threads is, nobody renews. That is seen without a memory of our own, whichever
program was restarted when, and however often.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dockercni.cni.errors import PluginTimeout
from dockercni.cni.strict_json import lookup
from dockercni.linux import listeners, processes

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from dockercni.cni.errors import PluginError
    from dockercni.linux.netns import Namespace

TYPE: Final = "dhcp"
_SOCKET: Final = "/run/cni/dhcp.sock"
_FRESH: Final = 2.0  # seconds for which one look at the daemon serves many containers


def socket_of(conf: Mapping[str, Any]) -> str:
    """Where the daemon listens that a plugin's IPAM asks; "" if its IPAM is another one."""
    ipam = lookup(conf, "ipam")
    if not isinstance(ipam, dict) or lookup(ipam, "type") != TYPE:
        return ""
    return str(lookup(ipam, "daemonSocketPath") or _SOCKET)


def listens(socket: str) -> bool:
    """Whether anybody listens there, be it a service manager that starts the daemon when it is asked."""
    return bool(listeners.unix_sockets(socket))


def explain(conf: Mapping[str, Any], error: PluginError) -> str:
    """What the failure of an ADD whose addresses come by DHCP means; "" if it has another reason."""
    socket = socket_of(conf)
    if not listens(socket):
        hint = "systemctl enable --now dockercni-dhcp.socket"
        return f"the daemon of the IPAM plugin dhcp does not run: nobody listens on {socket} ({hint})"
    if not isinstance(error, PluginTimeout) and error.plugin != TYPE:
        return ""
    link = lookup(conf, "bridge") or lookup(conf, "master") or f"the link of plugin {lookup(conf, 'type')}"
    return f"the IPAM plugin dhcp got no answer: no DHCP server serves {link}, or it has no address left"


@dataclass(frozen=True, slots=True)
class _Seen:
    when: float
    sockets: frozenset[str]
    programs: frozenset[tuple[int, int | None]]  # process and start
    namespaces: frozenset[tuple[int, int]] | None  # None where we may not look

    def renews(self, namespace: tuple[int, int]) -> bool:
        # What cannot be seen is taken for good: else every look would have the lease taken up once more.
        return self.namespaces is None or namespace in self.namespaces


class Renewals:
    """What the daemons renew. Thread-safe; one look serves for a moment."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._seen: dict[str, _Seen] = {}

    def renews(self, path: str, namespace: Namespace) -> bool:
        """Whether the daemon that listens at `path` works in that namespace."""
        status = os.fstat(namespace.fd)
        wanted = status.st_dev, status.st_ino
        # what is missing may only have come after that look
        return self._look(path, _FRESH).renews(wanted) or self._look(path, 0.0).renews(wanted)

    def runs(self, path: str) -> bool:
        """Whether anybody listens there, be it a service manager that starts the daemon when it is asked."""
        return bool(self._look(path, _FRESH).sockets)

    def changed(self) -> bool:
        """Whether a daemon that was looked at came, went or was started anew since. Costs little where none was."""
        with self._guard:
            gone = [path for path, seen in self._seen.items() if not _same(path, seen)]
        for path in gone:
            self._look(path, 0.0)
        return bool(gone)

    def _look(self, path: str, age: float) -> _Seen:
        with self._guard:
            seen = self._seen.get(path)
            if seen is None or time.monotonic() - seen.when > age:
                when = time.monotonic()
                sockets = listeners.unix_sockets(path)
                pids = listeners.holders(sockets, TYPE)
                programs = frozenset((pid, processes.start_time(pid)) for pid in pids)
                seen = self._seen[path] = _Seen(when, sockets, programs, _namespaces(sockets, pids))
            return seen


def _namespaces(sockets: Collection[str], pids: Collection[int]) -> frozenset[tuple[int, int]] | None:
    if sockets and not pids:  # it lives where we do not see it
        return None
    try:
        return frozenset(each for pid in pids for each in listeners.thread_namespaces(pid))
    except PermissionError:
        return None


def _same(path: str, seen: _Seen) -> bool:
    alive = all(processes.start_time(pid) == start for pid, start in seen.programs)
    return alive and listeners.unix_sockets(path) == seen.sockets
