"""What the firewall plugin does to FORWARD where it runs on its own, for a runtime that is not ours.

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
    """What the traffic of an attachment is known by: the links of the host that it is routed over, those listed that
    are no bridge's ports; where none is listed, the addresses, as the reference plugin has it."""
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
    """Whatever of an attachment FORWARD keeps back, by name. Raises IptablesError, NetlinkError, OSError."""
    wanted = segments(attached)
    return sorted({name for table in _restricted(attached) for name in _lacking(table.chains(), table.version, wanted)})


def open_for(attached: Result) -> None:
    """See to it that the traffic of an attachment is let through, where FORWARD keeps anything back.

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
    """Take the rules of an attachment away, unless they are for a bridge that has other ports as well.

    Raises IptablesError, NetlinkError, OSError.
    """
    with Netlink() as host:
        unused = {
            one.name for one in segments(attached) if not (one.link and links.has_ports(host, one.link, besides=1))
        }
    close(lambda name: name in unused)


def close(unused: Callable[[str], bool]) -> None:
    """Take the rules away that are for a link or address that is `unused`. Raises IptablesError, NetlinkError."""
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
    """Whether what rules were made for can be seen to be gone: a link, or all ports of a bridge."""
    with contextlib.suppress(ValueError):
        ip_address(name)
        return False  # DEL takes the rules for an address away; whether it is in use cannot be seen
    with Netlink() as host:
        link = links.find(host, name)
        return link is None or (link.kind == "bridge" and not links.has_ports(host, name))


def _accepts(version: int, wanted: Sequence[Segment]) -> Iterator[tuple[str, str]]:
    """Name and rule: what comes from it, the answers, and connections to published ports; nothing more, since accepting
    all that goes to it would open ports that nobody published."""
    for one in wanted:
        mark = f"{forward.firewall_comment(one.name)} -j ACCEPT"
        for inward, outward in one.ways(version):
            yield one.name, f"{inward} {mark}"
            yield one.name, f"{outward} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT {mark}"


def _lacking(chains: forward.Chains, version: int, wanted: Sequence[Segment]) -> set[str]:
    """The names of what neither this plugin nor the daemon lets through in that table."""
    kept = forward.marked(chains)
    present = chains.get(CNI, ())
    return {name for name, rule in _accepts(version, wanted) if rule not in present and name not in kept}


def _restricted(attached: Result) -> Iterator[Filter]:
    """The filter tables whose FORWARD keeps anything of the attachment's IP versions back."""
    for version in versions(attached):
        if _passes(version):
            continue
        for table in iptables.filters(version):
            policies, chains = table.listing()
            if policies.get(FORWARD, "ACCEPT") != "ACCEPT" or chains.get(FORWARD):
                yield table


def _passes(version: int) -> bool:
    """Whether nothing is kept back, as far as that can be told without starting a process."""
    policy = iptables.policy(version, FORWARD)
    free = policy is None or (policy and not iptables.stored_rules(version, FORWARD))
    return free and not iptables.has_legacy(version)


def _marked(version: int) -> bool:
    """Whether there may be rules of ours."""
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
