"""The portmap plugin: ports of the host that lead to the container.

Deviations from the reference: each port is an element of our own nftables table, so a port that another attachment
publishes is refused, and DEL removes exactly the ports of one attachment, also without prevResult; connections from all
of 127.0.0.0/8 are served; what else route_localnet would open is dropped; GC removes what belongs to no valid
attachment.
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dockercni.cni.errors import CNIError
from dockercni.cni.strict_json import lookup
from dockercni.linux import addr, conntrack, nft, sysctl
from dockercni.linux.netlink import Netlink, NetlinkError
from dockercni.linux.nft import NftablesError
from dockercni.plugins import addresses, keys, layout, ruleset
from dockercni.plugins.contract import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from dockercni.cni.result import Result
    from dockercni.cni.strict_json import Fields
    from dockercni.linux.nft_elements import Element
    from dockercni.plugins.contract import Request
    from dockercni.plugins.ruleset import Owner

_OF_RULES: Final = ("backend", "markMasqBit", "externalSetMarkChain", "conditionsV4", "conditionsV6", "masqAll")
_NOTHING: Final[tuple[Any, ...]] = (None, False, [], [""])


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port of the host that leads to a port of the container.

    `host` is the host's address; the unspecified address means all of that family, None all.
    """

    protocol: str
    port: int
    to: int
    host: IPv4Address | IPv6Address | None

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The destination that packets must have; None for any."""
        return self.host if self.host and not self.host.is_unspecified else None


def unsupported(conf: Mapping[str, Any]) -> str:
    """See Plugin."""
    for key in _OF_RULES:
        if lookup(conf, key) not in _NOTHING:
            return f"{key} is about rules in a table that is not ours"
    if not nft.available():
        return keys.NO_LIBRARY
    return keys.unknown(conf, ("snat", *_OF_RULES))


def validate(request: Request) -> None:
    """See Plugin."""
    _snat(request.fields)
    _mappings(request.fields)


def add(request: Request) -> Result:
    """See Plugin."""
    mappings = _mappings(request.fields)
    previous = request.previous
    if previous is None:
        raise PluginFailure("must be called as chained plugin")
    if not mappings:
        return previous
    try:
        ruleset.add(_elements(ruleset.owner(request), mappings, previous, snat=_snat(request.fields)))
    except ruleset.Taken as error:
        raise PluginFailure(str(error)) from error
    except NftablesError as error:
        raise PluginFailure(f"unable to publish ports: {error}") from error
    targets = _targets(request.ifname, previous)
    _forget_udp(mappings, targets)
    if _snat(request.fields):
        for target in targets:
            if target.version == 4:
                _route_localnet(target)
    return previous


def check(request: Request) -> None:
    """See Plugin."""
    mappings = _mappings(request.fields)
    previous = request.previous
    if previous is None:
        raise PluginFailure("Required prevResult missing")
    if mappings and (gone := ruleset.missing(elements(ruleset.owner(request), request.fields, previous))):
        words = layout.port_words(gone[0]) if gone[0].set in ruleset.PORTS else layout.describe(gone[0])
        raise PluginFailure(f"missing in table inet {layout.NAME}: {words}")


def delete(request: Request) -> None:
    """See Plugin."""
    if not _mappings(request.fields):
        return
    previous = None
    with contextlib.suppress(CNIError):  # a damaged prevResult stops no DEL
        previous = request.previous
    if previous and (published := elements(ruleset.owner(request), request.fields, previous)):
        ruleset.remove(published)
    else:
        own = ruleset.owner(request).comment
        ruleset.remove_owned((*ruleset.PORTS, *ruleset.TARGETS), lambda comment: comment == own)


def status(request: Request) -> None:
    """See Plugin."""
    validate(request)


def gc(request: Request) -> None:
    """See Plugin."""
    ruleset.remove_stale((*ruleset.PORTS, *ruleset.TARGETS), ruleset.invalid(request))


def elements(owner: Owner, fields: Fields, attached: Result) -> list[Element]:
    """The elements of our nftables table for an attachment with that result: one for each port and each address."""
    return _elements(owner, _mappings(fields), attached, snat=_snat(fields))


def _elements(owner: Owner, mappings: Sequence[PublishedPort], attached: Result, *, snat: bool) -> list[Element]:
    found: dict[tuple[str, bytes], Element] = {}
    for target in _targets(owner.ifname, attached):
        published = [
            ruleset.port(each.protocol, each.port, target.ip, each.to, owner, each.address)
            for each in mappings
            if each.host is None or each.host.version == target.version
        ]
        if published and snat:
            published.append(ruleset.target(target, owner))
        for element in published:
            found.setdefault((element.set, element.key), element)  # of two mappings of one port, the first counts
    return list(found.values())


def _mappings(fields: Fields) -> list[PublishedPort]:
    found = []
    for entry in fields.object("runtimeConfig").objects("portMappings"):
        port, to = entry.integer("hostPort") or 0, entry.integer("containerPort") or 0
        if not 0 < to < 1 << 16:
            raise PluginFailure(f"failed to parse config: Invalid container port number: {to}")
        if not 0 < port < 1 << 16:
            raise PluginFailure(f"failed to parse config: Invalid host port number: {port}")
        protocol = entry.string("protocol").lower()
        if protocol not in layout.PROTOCOLS:
            raise PluginFailure(f'unknown protocol "{protocol}" of port {port}')
        host = addresses.read(entry, "hostIP")
        mapped = host.ipv4_mapped if host and host.version == 6 else None
        found.append(PublishedPort(protocol, port, to, mapped or host))
    return found


def _snat(fields: Fields) -> bool:
    return fields.get("snat") is None or fields.boolean("snat")


def _targets(ifname: str, attached: Result) -> list[addr.Interface]:
    """The first IPv4 and the first IPv6 address of the container's link."""
    found: dict[int, addr.Interface] = {}
    for ip in attached.ips:
        known = ip.interface is not None and 0 <= ip.interface < len(attached.interfaces)
        link = attached.interfaces[ip.interface] if known and ip.interface is not None else None
        if link is None or (link.name == ifname and link.sandbox):
            found.setdefault(ip.address.version, ip.address)
    return list(found.values())


def _forget_udp(mappings: Sequence[PublishedPort], targets: Sequence[addr.Interface]) -> None:
    """Forget tracked UDP connections: those from before the port was published would not be redirected."""
    ports = {mapping.port for mapping in mappings if mapping.protocol == "udp"}
    try:
        for target in targets if ports else ():
            conntrack.forget_udp(target.version, ports)
    except NetlinkError as error:
        import structlog  # noqa: PLC0415  slow to import, and hardly ever needed

        structlog.get_logger().warning("stale UDP connections are still tracked", reason=str(error), plugin="portmap")


def _route_localnet(target: addr.Interface) -> None:
    """Allow the kernel to route connections from 127.0.0.1 to the container."""
    with Netlink() as host:
        index = addr.route_get(host, target.ip)
    if index:
        try:
            sysctl.write(f"net/ipv4/conf/{socket.if_indextoname(index)}/route_localnet", "1")
        except OSError as error:
            raise PluginFailure(f"unable to enable route_localnet: {error}") from error
