"""DHCP leases of live attachments: detected when no daemon renews them, and handed to a restarted daemon.

The daemon of the `dhcp` plugin forgets its leases when it ends; they expire silently, and the server gives the
addresses to others. The plugin's CHECK does the same as its ADD, but only an ADD returns the address that the container
has now, so an ADD is sent. That is done only while the daemon does nothing for the container: with each ADD or CHECK,
version 1.1.1 of the plugin starts one more renewal.
"""

from __future__ import annotations

from collections.abc import Sequence

from dockercni.cni import CacheEntry, CNIError, NetworkList, Runtime, parse_list
from dockercni.errors import DockercniError, Retry
from dockercni.linux.netns import Namespace
from dockercni.plugins import dhcp
from dockercni.plugins.dhcp import Renewals
from dockercni.reconcile import records


class LeaseLost(DockercniError):
    """The server gave the container's address to another client, or does not know it any more."""

    retry = Retry.LATER


class DHCPLeases:
    """Looks after the DHCP leases of recorded attachments. Thread-safe."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._renewals = Renewals()

    def watch(self, network: NetworkList) -> None:
        """Something was attached to that network: from now on watch its daemon."""
        for plugin in network.plugins:
            if socket := dhcp.socket_of(plugin.raw):
                self._renewals.runs(socket)

    def missing(self, entries: Sequence[CacheEntry]) -> dict[str, list[str]]:
        """For each interface name what its lease lacks, in words. Nothing for what cannot be observed."""
        found: dict[str, list[str]] = {}
        for entry in entries:
            if (asked := _asked(entry)) and (reason := self._why_missing(entry, asked[1])):
                found[entry.ifname] = [reason]
        return found

    def _why_missing(self, entry: CacheEntry, socket: str) -> str:
        try:
            with Namespace.open(entry.netns) as namespace:
                if self._renewals.renews(socket, namespace):
                    return ""
        except OSError:
            return ""
        if self._renewals.runs(socket):
            return f"the renewal of its DHCP lease, which the daemon at {socket} does not have"
        return f"the renewal of its DHCP lease, since no daemon listens at {socket}"

    def renew(self, entry: CacheEntry, lock: int) -> None:
        """Have the daemon renew the lease again. Raises CNIError, LeaseLost."""
        asked = _asked(entry)
        if asked is None:
            return
        position, _ = asked
        result = self._runtime.delegate("ADD", entry, position, dhcp.TYPE, (lock,))
        past = {ip.address.ip for ip in records.given(entry).ips}
        if lost := [str(ip.address.ip) for ip in result.ips if ip.address.ip not in past]:
            raise LeaseLost(f"the DHCP server now gives {', '.join(lost)} in place of {', '.join(map(str, past))}")

    def changed(self) -> bool:
        """Whether a daemon that keeps leases of attachments started, ended or was restarted. Cheap."""
        return self._renewals.changed()


def kept(entry: CacheEntry) -> bool:
    """Whether an attachment has a DHCP lease."""
    return _asked(entry) is not None


def _asked(entry: CacheEntry) -> tuple[int, str] | None:
    """The position of the plugin whose IPAM is dhcp, and the socket of the daemon; None if there is no such plugin."""
    try:
        plugins = parse_list(entry.config).plugins
    except CNIError:
        return None
    return next(((at, socket) for at, one in enumerate(plugins) if (socket := dhcp.socket_of(one.raw))), None)
