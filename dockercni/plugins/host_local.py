"""host-local: addresses from ranges in the configuration, with the leases in files on this host.

Reference: plugins/ipam/host-local. Deviations: a request for an address does not bypass the check for a second ADD;
what a failed ADD takes back is what it took itself; the GC verb removes leases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dockercni.cni import versions
from dockercni.cni.result import IPConfig, Result
from dockercni.cni.strict_json import Fields
from dockercni.plugins import addresses, host_local_conf, leases, resolvers
from dockercni.plugins.contract import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockercni.plugins.addresses import Address
    from dockercni.plugins.contract import Request
    from dockercni.plugins.leases import Leases
    from dockercni.plugins.ranges import RangeSet


def unsupported(conf: Mapping[str, Any]) -> str:
    """See Plugin."""
    return host_local_conf.unknown(conf)


def validate(request: Request) -> None:
    """See Plugin. Raises OSError for a resolvConf that cannot be read."""
    resolvers.read(host_local_conf.read(request).resolv_conf)


def add(request: Request) -> Result:
    """Reserve one address of each range set; the result has no interfaces.

    Raises PluginFailure: exhausted, taken, not in any set, or the attachment has an address already.
    """
    plan = host_local_conf.read(request)
    dns = resolvers.read(plan.resolv_conf)
    wanted = list(plan.wanted)
    ips: list[IPConfig] = []
    with leases.locked(plan.data_directory, request.name) as store:
        try:
            for index, each in enumerate(plan.sets):
                asked = next((address for address in wanted if each.find(address)), None)
                if asked is not None:
                    wanted.remove(asked)
                ips.append(_reserve(store, request, each, index, asked))
            _check_nothing_left(wanted)
        except BaseException:
            for ip in ips:
                store.free(ip.address.ip)
            raise
    return Result(versions.CURRENT, ips=tuple(ips), routes=plan.routes, dns=dns)


def check(request: Request) -> None:
    """Whether the attachment has any lease. Raises PluginFailure."""
    with leases.locked(host_local_conf.read(request).data_directory, request.name) as store:
        if not store.holds(request.container_id, request.ifname):
            raise PluginFailure(f"host-local: Failed to find address added by container {request.container_id}")


def delete(request: Request) -> None:
    """Release all leases of the attachment; none is success. Raises PluginFailure for a bad configuration."""
    with leases.locked(host_local_conf.read(request).data_directory, request.name) as store:
        store.release(request.container_id, request.ifname)


def status(request: Request) -> None:
    """An ADD can be served if the configuration is good: whether an address is free depends on who asks."""
    validate(request)


def gc(request: Request) -> None:
    """Release the leases of all but the valid attachments, unless their address is in use. Raises PluginFailure."""

    from dockercni.linux import netns_state  # noqa: PLC0415  a cold start must not pay for what is hardly used

    listed = request.fields.get("cni.dev/valid-attachments")
    if listed is None:  # the name that older runtimes used
        listed = request.fields.get("cni.dev/attachments")
    if listed is None:
        raise PluginFailure("GC without a list of valid attachments")
    each = list(Fields({"attachments": listed}).objects("attachments"))
    with leases.locked(host_local_conf.read(request).data_directory, request.name) as store:
        store.keep_only(
            {(fields.string("containerID"), fields.string("ifname")) for fields in each},
            netns_state.addresses_everywhere,
        )


def _check_nothing_left(wanted: list[Address]) -> None:
    if wanted:
        raise PluginFailure(f"failed to allocate all requested IPs: {' '.join(map(str, wanted))}")


def _reserve(store: Leases, request: Request, each: RangeSet, index: int, asked: Address | None) -> IPConfig:
    owner = request.container_id
    held = next(filter(each.find, store.held(owner, request.ifname)), None)
    found = None if asked is None else each.find(asked)
    if held is not None:
        raise _refused(index, f"{held} has been allocated to {owner}, duplicate allocation is not allowed")
    if asked is None or found is None:
        candidates = each.candidates(store.last_reserved(index))
        problem = f"no IP addresses available in range set: {each}"
    elif asked == found.gateway:
        raise _refused(index, f"requested ip {asked} is subnet's gateway")
    else:
        candidates = iter([(asked, found)])
        problem = f"requested IP address {asked} is not available in range set {each}"
    for address, place in candidates:
        if store.reserve(address, owner, request.ifname, index):
            return IPConfig(addresses.with_prefix(address, place.subnet.prefixlen), place.gateway)
    raise _refused(index, problem)


def _refused(index: int, problem: str) -> PluginFailure:
    return PluginFailure(f"failed to allocate for range {index}: {problem}")
