"""The daemon of the `dhcp` plugin, seen from outside: whether it runs, and which leases it renews.

The daemon has no verb for that. But it renews each lease from a thread in the container's namespace, which exists from
its first question to the server on. Without such a thread in its namespace, a lease is not renewed. So nothing needs to
be remembered across restarts of either program.
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
_FRESH: Final = 2.0  # seconds for which one inspection of the daemon serves all containers


def socket_of(conf: Mapping[str, Any]) -> str:
    """The socket of the DHCP daemon that a plugin's IPAM uses; "" if its IPAM is another one."""
    ipam = lookup(conf, "ipam")
    if not isinstance(ipam, dict) or lookup(ipam, "type") != TYPE:
        return ""
    return str(lookup(ipam, "daemonSocketPath") or _SOCKET)


def listens(socket: str) -> bool:
    """Whether anything listens there: the daemon, or a service manager that starts it on demand."""
    return bool(listeners.unix_sockets(socket))


def explain(conf: Mapping[str, Any], error: PluginError) -> str:
    """The reason why an ADD with DHCP failed, in plain words; "" if it has nothing to do with DHCP."""
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
    namespaces: frozenset[tuple[int, int]] | None  # None if they cannot be inspected

    def renews(self, namespace: tuple[int, int]) -> bool:
        # What cannot be inspected counts as renewed, or every reconciliation would acquire the lease again.
        return self.namespaces is None or namespace in self.namespaces


class Renewals:
    """The leases that the daemons renew, inspected at most every two seconds. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._seen: dict[str, _Seen] = {}

    def renews(self, path: str, namespace: Namespace) -> bool:
        """Whether the daemon that listens at `path` works in that namespace."""
        status = os.fstat(namespace.fd)
        wanted = status.st_dev, status.st_ino
        # a missing thread may have started after that inspection
        return self._look(path, _FRESH).renews(wanted) or self._look(path, 0.0).renews(wanted)

    def runs(self, path: str) -> bool:
        """Whether anything listens there: the daemon, or a service manager that starts it on demand."""
        return bool(self._look(path, _FRESH).sockets)

    def changed(self) -> bool:
        """Whether an inspected daemon has started, ended or restarted since. Cheap if none was inspected."""
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
    if sockets and not pids:  # it runs in a process namespace that is not visible from here
        return None
    try:
        return frozenset(each for pid in pids for each in listeners.thread_namespaces(pid))
    except PermissionError:
        return None


def _same(path: str, seen: _Seen) -> bool:
    alive = all(processes.start_time(pid) == start for pid, start in seen.programs)
    return alive and listeners.unix_sockets(path) == seen.sockets
