"""DEL of a recorded attachment, with what plugins and executables leave behind."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial

from dockercni.cni import (
    EXEC,
    Cache,
    CacheEntry,
    ChainError,
    PluginError,
    PluginNotFound,
    PluginTimeout,
    Runtime,
    parse_list,
)
from dockercni.plugins.dispatch import BUILTIN
from dockercni.plugins.table import PLUGINS
from dockercni.reconcile import container_half
from dockercni.reconcile.firewall_rules import FirewallRules
from dockercni.reconcile.host_half import HostHalf


def delete(entry: CacheEntry, runtime: Runtime, cache: Cache, rules: FirewallRules, host: HostHalf, lock: int) -> None:
    """DEL, and remove the rules and the host's port that it leaves. Raises CNIError, HostError, RulesError.

    `lock` is the descriptor of the container's lock, which plugins inherit.
    """
    shared = _shares_rules(entry, cache)
    # Rules are swept before the DEL only if no plugin will find the interface: the reference bridge fails if its chain
    # is gone while the interface is there.
    if not container_half.enter_for_del(entry, partial(host.port, entry)):
        rules.sweep(entry, shared=shared)
    try:
        runtime.delete_recorded(entry, inherit=(lock,))
    except ChainError as error:
        # The reference bridge and portmap fail on rules that were flushed, or that another interface of the
        # container shares; and executables may have been removed since. Rules are swept, and the rest is the same
        # for both: links and leases that an executable made can be taken back by the plugin of this process.
        failed = {failure.plugin for failure in error.failures if isinstance(failure, PluginError | PluginNotFound)}
        if not failed & PLUGINS.keys() or any(isinstance(failure, PluginTimeout) for failure in error.failures):
            raise
        rules.sweep(entry, shared=shared)
        runtime.delete_recorded(_served_here(entry, failed), inherit=(lock,))
    # An executable may report success and have done nothing. Should its address have a new owner already, this sweep
    # takes rules of that one as well; the rule watch notices, and they are repaired.
    rules.sweep(entry, shared=shared)
    host.remove_port(entry)


def _shares_rules(entry: CacheEntry, cache: Cache) -> bool:
    """Whether the container has another attachment to the same network: some rules serve both."""
    return any(
        other.network == entry.network and other.ifname != entry.ifname for other in cache.entries(entry.container_id)
    )


def _served_here(entry: CacheEntry, failed: Collection[str]) -> CacheEntry:
    """The entry with these types of plugins served in this process, as far as there are such."""
    types = [plugin.type for plugin in parse_list(entry.config).plugins]
    backends = entry.served or (EXEC,) * len(types)
    served = (
        BUILTIN if kind in failed and kind in PLUGINS else backend
        for kind, backend in zip(types, backends, strict=True)
    )
    return replace(entry, served=tuple(served))
