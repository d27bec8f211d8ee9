"""Whether the host has what a plugin's configuration needs: links, a sufficient MTU, the DHCP daemon's socket."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from dockercni.cni.strict_json import DocumentError, Fields
from dockercni.commands.validation.meaning import Problem
from dockercni.linux import addr, links
from dockercni.linux.links import Link
from dockercni.linux.netlink import Netlink
from dockercni.reconcile import claims

_SOCKET: Final = "/run/cni/dhcp.sock"
_LISTENING: Final = "00010000"  # the flag in /proc/net/unix
_BAD_NAME: Final = re.compile(r"[/:\s]|^\.{1,2}$")
_IFNAME_BYTES: Final = 15
_ON_MASTER: Final = {"ipvlan", "macvlan", "vlan"}
_SMALLEST: Final = {4: 68, 6: 1280}  # MTU
_LARGEST: Final = 65535


class HostLinks:
    """The host's links and default route, read once."""

    def __init__(self) -> None:
        """Raises OSError."""
        with Netlink() as socket:
            self._links = {link.name: link for link in links.every(socket)}
            routes = [path for version in (4, 6) for path in addr.routes(socket, version)]
        indices = {link.index: link for link in self._links.values()}
        self._uplink = next((indices.get(path.link) for path in routes if not path.dst.prefixlen), None)

    def problems(self, kind: str, conf: Mapping[str, Any]) -> Iterator[Problem]:
        """What is wrong with a plugin's configuration on this host."""
        fields = Fields(conf)
        try:
            carrier = None
            if kind == "bridge":
                yield from self._bridge(fields)
                carrier = self._links.get(fields.string("bridge") or "cni0")
            elif kind in _ON_MASTER and not fields.boolean("linkInContainer"):
                carrier = self._links.get(fields.string("master")) if fields.string("master") else self._uplink
                yield from self._master(kind, fields, carrier)
            elif kind == "host-device" and (device := fields.string("device")) and device not in self._links:
                yield "device", f"this host has no link {device}; a container may have it now"
            yield from _mtu(fields, carrier)
            if fields.object("ipam").string("type") == "dhcp":
                yield from _dhcp(fields.object("ipam").string("daemonSocketPath") or _SOCKET)
        except DocumentError:
            return  # `meaning` reports values of a wrong type

    def _bridge(self, fields: Fields) -> Iterator[Problem]:
        name = fields.string("bridge")
        if fields.get("bridge") is None:
            return
        size = len(os.fsencode(name))
        if not name or _BAD_NAME.search(name):
            yield "bridge", f"{name!a} cannot be the name of a link"
        elif size > _IFNAME_BYTES:
            yield "bridge", f"the name of a link has at most {_IFNAME_BYTES} bytes, {name} has {size}"
        elif (link := self._links.get(name)) and link.kind != "bridge":
            yield "bridge", f"the link {name} is not a bridge{f' but a {link.kind}' if link.kind else ''}"

    def _master(self, kind: str, fields: Fields, carrier: Link | None) -> Iterator[Problem]:
        if carrier is None and fields.string("master"):
            known = ", ".join(sorted(name for name, link in self._links.items() if name != "lo" and not link.master))
            yield "master", f"this host has no link {fields.string('master')} (it has: {known or 'none'})"
        elif carrier is None and kind != "vlan":
            yield "type", "master is missing, and no default route has a link to use instead"


def _mtu(fields: Fields, carrier: Link | None) -> Iterator[Problem]:
    mtu = fields.integer("mtu") or 0
    versions = {subnet.version for subnet in claims.within(fields.object("ipam").values)} or {4}
    smallest = max(_SMALLEST[version] for version in versions)
    if mtu and not smallest <= mtu <= _LARGEST:
        yield "mtu", f"must be from {smallest} to {_LARGEST}"
    elif carrier and mtu > carrier.mtu:
        yield "mtu", f"{mtu} does not fit through {carrier.name}, whose MTU is {carrier.mtu}"


def _dhcp(path: str) -> Iterator[Problem]:
    hint = "systemctl enable --now dockercni-dhcp.socket"
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            yield "ipam.type", f"{path} is no socket: the DHCP daemon does not run ({hint})"
        elif not _is_listened_on(path):
            yield "ipam.type", f"no process listens on {path}: the DHCP daemon does not run ({hint})"
    except FileNotFoundError:
        yield "ipam.type", f"there is no {path}: the DHCP daemon does not run ({hint})"
    except OSError:
        return  # without root it cannot be seen


def _is_listened_on(path: str) -> bool:
    rows = (line.split(maxsplit=7) for line in Path("/proc/net/unix").read_text(encoding="utf-8").splitlines())
    bound = [row[7] for row in rows if len(row) == 8 and row[3] == _LISTENING]
    return os.path.realpath(path) in map(os.path.realpath, bound)
