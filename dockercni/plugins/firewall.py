"""The firewall plugin: lets the traffic of a network pass the host's FORWARD chain, and keeps networks apart.

Deviations from the reference: rules are for links rather than addresses if the result lists a link of the host; there
are no rules if FORWARD lets everything pass; ports that portmap publishes are reachable from other machines; ingress
policies are elements of our own nftables table, which stay until their bridge has no ports any more.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from dockercni.cni.errors import CNIError
from dockercni.cni.strict_json import lookup
from dockercni.linux import firewalld, links, nft
from dockercni.linux.iptables import IptablesError
from dockercni.linux.netlink import Netlink
from dockercni.linux.nft import NftablesError
from dockercni.plugins import forward, keys, layout, ruleset
from dockercni.plugins.contract import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockercni.cni.result import Result
    from dockercni.cni.strict_json import Fields
    from dockercni.linux.nft_elements import Element
    from dockercni.plugins.contract import Request
    from dockercni.plugins.ruleset import Owner

_POLICIES: Final = ("", "open", "same-bridge", "isolated")


def unsupported(conf: Mapping[str, Any]) -> str:
    """See Plugin."""
    for key in ("backend", "iptablesAdminChainName"):
        if lookup(conf, key):
            return f"{key} is about rules that are not ours"
    if firewalld.runs():
        return "firewalld is running"
    if lookup(conf, "ingressPolicy") not in {None, "", "open"} and not nft.available():
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
        if request.opens:
            forward.open_for(previous)
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
        if lacking := forward.missing(previous):
            raise PluginFailure(f"expected rules for {', '.join(lacking)} in the FORWARD chain not found")
    except IptablesError as error:
        raise PluginFailure(str(error)) from error
    if gone := ruleset.missing(elements(ruleset.owner(request), request.fields, previous)):
        raise PluginFailure(f"ingress policy is missing: {layout.describe(gone[0])}")


def delete(request: Request) -> None:
    """See Plugin. Ingress policies belong to the bridge, which stays as well."""
    _policy(request.fields)
    previous = None
    with contextlib.suppress(CNIError):  # a damaged prevResult stops no DEL
        previous = request.previous
    try:
        if request.opens and previous:
            forward.close_for(previous)
    except IptablesError as error:
        raise PluginFailure(str(error)) from error


def status(request: Request) -> None:
    """See Plugin."""
    validate(request)


def gc(request: Request) -> None:
    """See Plugin. A bridge may serve several networks, so it is its ports that count."""

    def used(link: str) -> bool:
        with Netlink() as host:
            return links.has_ports(host, link)

    ruleset.remove_owned(ruleset.BRIDGES, lambda comment: not used(comment))
    try:
        if request.opens:
            forward.close(forward.unused)
    except IptablesError as error:
        raise PluginFailure(str(error)) from error


def elements(_owner: Owner, fields: Fields, attached: Result) -> list[Element]:
    """The elements of our nftables table for such an attachment: the policy of its bridge, which owns them."""
    policy = _policy(fields)
    if policy not in _POLICIES[2:]:
        return []
    if not attached.interfaces:
        problem = f'interface needs to be set for ingress policy "{policy}"'
        raise PluginFailure(f'{problem}, make sure to chain "firewall" plugin with "bridge"')
    return ruleset.bridge(attached.interfaces[0].name, isolated=policy == "isolated")


def _policy(fields: Fields) -> str:
    policy = fields.string("ingressPolicy")
    if policy not in _POLICIES:
        raise PluginFailure(f'unknown ingress policy: "{policy}"')
    return policy
