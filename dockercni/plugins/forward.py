"""The rules that the firewall plugin makes in FORWARD when it runs for another runtime than ours.

The daemon and the commands let traffic through by what is recorded (`reconcile.forwarding`). Without records the rules
stand in CNI-FORWARD, as those of the reference plugin, two for each link: behind DOCKER-USER and the administrator's
chain, and only where FORWARD keeps anything back.
"""

from __future__ import annotations

import contextlib
from ipaddress import ip_address
from typing import TYPE_CHECKING

from dockercni.linux import forward, iptables, links
from dockercni.linux.forward import CNI, FORWARD, MARK, Segment
from dockercni.linux.netlink import Netlink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from dockercni.cni.result import Result
    from dockercni.linux.iptables import Filter


def segments(attached: Result) -> list[Segment]:
    """What the rules of an attachment match: the listed links of the host that are not ports of a bridge, or if
    there is none, its addresses, as in the reference plugin."""
    with Netlink() as host:
        names = [each.name for each in attached.interfaces if not each.sandbox and forward.plain(each.name)]
        found = [links.find(host, name) for name in names]
    if routed := [Segment(link.name) for link in found if link and not link.master]:
        return routed
    return [Segment(addresses=frozenset({ip.address.ip})) for ip in attached.ips]


def versions(attached: Result) -> list[int]:
    """The IP versions of an attachment."""
    return sorted({ip.address.version for ip in attached.ips})


def missing(attached: Result) -> list[str]:
    """The names of the segments that FORWARD does not let through. Raises IptablesError, NetlinkError, OSError."""
    wanted = segments(attached)
    return sorted({name for table in _restricted(attached) for name in _lacking(table.chains(), table.version, wanted)})


def open_for(attached: Result) -> None:
    """Let the traffic of an attachment through, if FORWARD drops anything.

    Raises IptablesError, NetlinkError, OSError.
    """
    wanted = segments(attached)
    for table in _restricted(attached):
        if not _lacking(table.chains(), table.version, wanted):
            continue
        with forward.changing() as change:
            _open(table, wanted)
            change.done()


def close_for(attached: Result) -> None:
    """Remove the rules of an attachment, except those for a bridge that has other ports.

    Raises IptablesError, NetlinkError, OSError.
    """
    with Netlink() as host:
        unused = {
            one.name for one in segments(attached) if not (one.link and links.has_ports(host, one.link, besides=1))
        }
    close(lambda name: name in unused)


def close(unused: Callable[[str], bool]) -> None:
    """Remove the rules for each link or address that is `unused`. Raises IptablesError, NetlinkError."""
    for version in iptables.FAMILIES:
        if not _marked(version):
            continue
        with forward.changing() as change:
            for table in iptables.filters(version):
                present = table.chains().get(CNI, ())
                lines = [
                    f"-D {CNI} {rule}" for rule in present if (name := forward.firewall_name(rule)) and unused(name)
                ]
                if lines:
                    iptables.restore(table.command, "filter", lines)
                    change.done()


def unused(name: str) -> bool:
    """Whether the link of a rule is gone, or is a bridge without ports."""
    with contextlib.suppress(ValueError):
        ip_address(name)
        return False  # whether an address is in use cannot be seen; DEL removes its rules
    with Netlink() as host:
        link = links.find(host, name)
        return link is None or (link.kind == "bridge" and not links.has_ports(host, name))


def _accepts(version: int, wanted: Sequence[Segment]) -> Iterator[tuple[str, str]]:
    """Name and rules of each segment: packets from it, answers to it, and connections to published ports.

    Accepting everything to it would open ports that nobody published.
    """
    for one in wanted:
        mark = f"{forward.firewall_comment(one.name)} -j ACCEPT"
        for inward, outward in one.ways(version):
            yield one.name, f"{inward} {mark}"
            yield one.name, f"{outward} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT {mark}"


def _lacking(chains: forward.Chains, version: int, wanted: Sequence[Segment]) -> set[str]:
    """The names of the segments that neither this plugin nor the daemon lets through in that table."""
    kept = forward.marked(chains)
    present = chains.get(CNI, ())
    return {name for name, rule in _accepts(version, wanted) if rule not in present and name not in kept}


def _restricted(attached: Result) -> Iterator[Filter]:
    """The filter tables, of the attachment's IP versions, whose FORWARD drops anything."""
    for version in versions(attached):
        if _passes(version):
            continue
        for table in iptables.filters(version):
            policies, chains = table.listing()
            if policies.get(FORWARD, "ACCEPT") != "ACCEPT" or chains.get(FORWARD):
                yield table


def _passes(version: int) -> bool:
    """Whether FORWARD certainly drops nothing, by what can be read without starting a process."""
    policy = iptables.policy(version, FORWARD)
    free = policy is None or (policy and not iptables.stored_rules(version, FORWARD))
    return free and not iptables.has_legacy(version)


def _marked(version: int) -> bool:
    """Whether there may be rules of ours. Starts no process."""
    return iptables.has_legacy(version) or any(MARK.encode() in rule for rule in _rules(version))


def _rules(version: int) -> Iterable[bytes]:
    return iptables.stored_rules(version, CNI) if iptables.policy(version, CNI) is not None else ()


def _open(table: Filter, wanted: Sequence[Segment]) -> None:
    chains = table.chains()
    lacking = _lacking(chains, table.version, wanted)
    lines = list(forward.cni_chain(chains))
    present = chains.get(CNI, ())
    lines += [
        f"-A {CNI} {rule}" for name, rule in _accepts(table.version, wanted) if name in lacking and rule not in present
    ]
    iptables.restore(table.command, "filter", lines)
