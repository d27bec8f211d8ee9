"""The firewall plugin: lets the traffic of a network pass the host's FORWARD chain, and keeps networks apart.

Deviations from the reference: there are three rules for each bridge, not two for each address, and none where FORWARD
lets everything pass; ports that portmap publishes are reachable from other machines; ingress policies are elements of
our own nftables table. Both stay with their bridge, until GC finds that it has no ports any more.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dockercni.cni.document import lookup
from dockercni.kernel import forward, interfaces, nftables, processes
from dockercni.kernel.iptables import IptablesError
from dockercni.kernel.netlink import Netlink
from dockercni.kernel.nftables import NftablesError
from dockercni.plugins import keys, layout, ruleset
from dockercni.plugins.contract import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockercni.cni.document import Fields
    from dockercni.cni.result import Result
    from dockercni.kernel.elements import Element
    from dockercni.plugins.contract import Request
    from dockercni.plugins.ruleset import Owner

_FIREWALLD: Final = Path("/run/firewalld.pid")
_POLICIES: Final = ("", "open", "same-bridge", "isolated")


def unsupported(conf: Mapping[str, Any]) -> str:
    """See Plugin."""
    for key in ("backend", "iptablesAdminChainName"):
        if lookup(conf, key):
            return f"{key} is about rules that are not ours"
    if _firewalld_runs():
        return "firewalld is running"
    if lookup(conf, "ingressPolicy") not in {None, "", "open"} and not nftables.available():
        return keys.NO_LIBRARY
    return keys.unknown(conf, ("backend", "iptablesAdminChainName", "firewalldZone", "ingressPolicy"))


def validate(request: Request) -> None:
    """See Plugin."""
    _policy(request.fields)


def add(request: Request) -> Result:
    """See Plugin."""
    policy = _policy(request.fields)
    previous = request.previous
    if previous is None:
        raise PluginFailure("missing prevResult from earlier plugin")
    try:
        open_forward(previous)
        if policy in _POLICIES[2:]:
            ruleset.add(elements(ruleset.owner(request), request.fields, previous))
    except (IptablesError, NftablesError) as error:
        raise PluginFailure(str(error)) from error
    return previous


def check(request: Request) -> None:
    """See Plugin."""
    previous = request.previous
    if previous is None:
        raise PluginFailure("missing prevResult from earlier plugin")
    try:
        for link in _links(previous):
            if forward.missing(link, _versions(previous)):
                raise PluginFailure(f"expected rules for {link} in the FORWARD chain not found")
    except IptablesError as error:
        raise PluginFailure(str(error)) from error
    if gone := ruleset.missing(elements(ruleset.owner(request), request.fields, previous)):
        raise PluginFailure(f"ingress policy is missing: {layout.describe(gone[0])}")


def delete(request: Request) -> None:
    """See Plugin. What is there belongs to the bridge, which stays as well."""
    _policy(request.fields)


def status(request: Request) -> None:
    """See Plugin."""
    validate(request)


def gc(request: Request) -> None:  # noqa: ARG001  a bridge may serve several networks
    """See Plugin."""

    def used(link: str) -> bool:
        with Netlink() as host:
            return interfaces.has_ports(host, link)

    ruleset.remove_owned(ruleset.BRIDGES, lambda comment: not used(comment))
    try:
        forward.close_unused(used)
    except IptablesError as error:
        raise PluginFailure(str(error)) from error


def elements(_owner: Owner, fields: Fields, attached: Result) -> list[Element]:
    """What our nftables table holds for an attachment with that result: the policy of its bridge, which owns it."""
    policy = _policy(fields)
    if policy not in _POLICIES[2:]:
        return []
    if not attached.interfaces:
        problem = f'interface needs to be set for ingress policy "{policy}"'
        raise PluginFailure(f'{problem}, make sure to chain "firewall" plugin with "bridge"')
    return ruleset.bridge(attached.interfaces[0].name, isolated=policy == "isolated")


def open_forward(attached: Result) -> None:
    """See to it that the traffic of an attachment with that result is let through. Raises IptablesError, OSError."""
    if forward.restricted(versions := _versions(attached)):
        for link in _links(attached):
            forward.open_for(link, versions)


def _policy(fields: Fields) -> str:
    policy = fields.string("ingressPolicy")
    if policy not in _POLICIES:
        raise PluginFailure(f'unknown ingress policy: "{policy}"')
    return policy


def _versions(attached: Result) -> list[int]:
    return sorted({ip.address.version for ip in attached.ips})


def _links(attached: Result) -> list[str]:
    """The links of the host that the container's traffic is routed over: those listed that are no bridge's ports."""
    with Netlink() as host:
        names = [each.name for each in attached.interfaces if not each.sandbox]
        found = [interfaces.find(host, name) for name in names if name]
    return [link.name for link in found if link and not link.master]


def _firewalld_runs() -> bool:
    try:
        pid = int(_FIREWALLD.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return False
    return processes.start_time(pid) is not None
