"""Repairs the elements of recorded attachments in our nftables table, after it was flushed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockercni.cni import conf
from dockercni.cni.strict_json import Fields
from dockercni.linux.netlink import NetlinkError
from dockercni.linux.nft import NftablesError
from dockercni.plugins import bridge, firewall, portmap, ruleset
from dockercni.plugins.contract import PluginFailure
from dockercni.plugins.dispatch import BUILTIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dockercni.cni import CacheEntry
    from dockercni.cni.conf import NetworkList
    from dockercni.cni.result import Result
    from dockercni.linux.nft_elements import Element

_ELEMENTS = {"bridge": bridge.elements, "portmap": portmap.elements, "firewall": firewall.elements}


def lacking(entry: CacheEntry) -> bool:
    """Whether our table lacks an element of a recorded attachment. Raises PluginFailure."""
    try:
        return bool(ruleset.missing(_wanted(entry)))
    except (NetlinkError, NftablesError) as error:
        raise PluginFailure(str(error)) from error


def repair(entry: CacheEntry) -> None:
    """Add the elements of a recorded attachment to our table again. Raises PluginFailure."""
    try:
        ruleset.add(_wanted(entry))
    except (NetlinkError, NftablesError, ruleset.Taken) as error:
        raise PluginFailure(str(error)) from error


def _wanted(entry: CacheEntry) -> list[Element]:
    owner = ruleset.Owner(entry.container_id, entry.ifname, entry.network)
    return [
        element for kind, fields, attached in _builtin(entry) for element in _ELEMENTS[kind](owner, fields, attached)
    ]


def _builtin(entry: CacheEntry) -> Iterator[tuple[str, Fields, Result]]:
    """The built-in plugins of an entry that have elements: type, configuration, and the attachment's result."""
    if entry.result is None:
        return
    network: NetworkList = conf.parse_list(entry.config)
    attached = entry.attached
    for plugin, served in zip(network.plugins, entry.served, strict=False):
        if served == BUILTIN and plugin.type in _ELEMENTS:
            given = {key: value for key, value in entry.capability_args.items() if key in plugin.capabilities}
            yield plugin.type, Fields({**plugin.raw, "runtimeConfig": given}), attached
