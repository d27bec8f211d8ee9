"""ADD beside other attachments: the default route stays with the one that has it or takes precedence. See `gateway`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from dockercni.cni import Cache, CacheEntry, CNIError, ErrorCode, NetworkList, Result, Runtime, RuntimeConf
from dockercni.errors import UnknownNetwork
from dockercni.linux import addr
from dockercni.linux.netns import Namespace
from dockercni.reconcile import gateway, records
from dockercni.reconcile.networks import Networks

Rivals = Sequence[tuple[str, str]]


def add(
    runtime: Runtime, cache: Cache, networks: Networks, network: NetworkList, conf: RuntimeConf, rivals: Rivals | None
) -> CacheEntry:
    """ADD; with `rivals` the namespace keeps the default routes that it has. Raises CNIError."""
    if rivals is None:
        return runtime.add(network, conf)
    try:
        namespace = Namespace.open(conf.netns)
    except OSError as error:
        raise CNIError(f"{conf.netns}: {error.strerror}", ErrorCode.INVALID_NAMESPACE) from error
    with namespace:
        try:
            before = addr.default_routes(namespace)
        except OSError as error:
            raise CNIError(f"the default route cannot be read: {error}", ErrorCode.IO_FAILURE) from error
        versions = sorted({path.dst.version for path in before} | _promised(cache, networks, conf.container_id, rivals))
        if not versions:
            return runtime.add(network, conf)

        def finish(result: Result) -> Result:
            try:
                addr.keep_default_routes(namespace, before, versions, conf.ifname)
            except OSError as error:
                raise CNIError(f"the default route cannot be kept: {error}", ErrorCode.IO_FAILURE) from error
            return gateway.stripped(result, versions)

        return runtime.add(gateway.without(network, versions), conf, finish)


def _promised(cache: Cache, networks: Networks, container_id: str, rivals: Rivals) -> set[int]:
    """The IP versions in which one of the rivals has the default route, or is to have it when it comes.

    The record counts, not the namespace: the engine may have disabled IPv6 for a moment, or the container removed its
    own route.
    """
    found: set[int] = set()
    for network, ifname in rivals:
        entry = cache.read(network, container_id, ifname)
        if entry and entry.complete:
            found |= gateway.given(records.given(entry))
        else:
            with contextlib.suppress(UnknownNetwork):
                found |= gateway.expected(networks.catalogue().get(network))
    return found
