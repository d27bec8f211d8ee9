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

from dockercni.cni.document import lookup
from dockercni.cni.errors import PluginTimeout
from dockercni.kernel import unix_listeners

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockercni.cni.errors import PluginError
    from dockercni.kernel.namespaces import Namespace

TYPE: Final = "dhcp"
_SOCKET: Final = "/run/cni/dhcp.sock"
_FRESH: Final = 2.0  # seconds for which one look at the daemon serves many containers


def socket_of(conf: Mapping[str, Any]) -> str:
    """Where the daemon listens that a plugin's IPAM asks; "" if its IPAM is another one."""
    ipam = lookup(conf, "ipam")
    if not isinstance(ipam, dict) or lookup(ipam, "type") != TYPE:
        return ""
    return str(lookup(ipam, "daemonSocketPath") or _SOCKET)


def explain(conf: Mapping[str, Any], error: PluginError) -> str:
    """What the failure of an ADD whose addresses come by DHCP means; "" if it has another reason."""
    socket = socket_of(conf)
    if not unix_listeners.listening(socket):
        hint = "systemctl enable --now dockercni-dhcp.socket"
        return f"the daemon of the IPAM plugin dhcp does not run: nobody listens on {socket} ({hint})"
    if not isinstance(error, PluginTimeout) and error.plugin != TYPE:
        return ""
    link = lookup(conf, "bridge") or lookup(conf, "master") or f"the link of plugin {lookup(conf, 'type')}"
    return f"the IPAM plugin dhcp got no answer: no DHCP server serves {link}, or it has no address left"


@dataclass(frozen=True, slots=True)
class _Seen:
    when: float
    pids: tuple[int, ...]
    namespaces: frozenset[tuple[int, int]]


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
        return wanted in self._look(path, _FRESH).namespaces or wanted in self._look(path, 0.0).namespaces

    def daemons(self, path: str) -> tuple[int, ...]:
        """The processes that listen there now, of which one that is started anew is another."""
        return self._look(path, 0.0).pids

    def forget(self) -> None:
        """Look anew when next asked."""
        with self._guard:
            self._seen.clear()

    def _look(self, path: str, age: float) -> _Seen:
        with self._guard:
            seen = self._seen.get(path)
            if seen is None or time.monotonic() - seen.when > age:
                when = time.monotonic()
                pids = unix_listeners.holders(unix_listeners.listening(path), TYPE)
                found = {each for pid in pids for each in unix_listeners.namespaces(pid)}
                seen = self._seen[path] = _Seen(when, tuple(sorted(pids)), frozenset(found))
            return seen
