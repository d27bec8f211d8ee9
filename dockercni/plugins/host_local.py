"""host-local: addresses from ranges in the configuration, with the leases in files on this host.

Reference: plugins/ipam/host-local. Deviations: a request for an address does not bypass the check for a second ADD;
what a failed ADD takes back is what it took itself; the GC verb removes leases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dockercni.cni import strict_json, versions
from dockercni.cni.result import DNS, IPConfig, Result
from dockercni.cni.strict_json import Fields, shown
from dockercni.plugins import addresses, keys, leases, ranges
from dockercni.plugins.contract import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockercni.cni.result import Route
    from dockercni.plugins.addresses import Address
    from dockercni.plugins.contract import Request
    from dockercni.plugins.leases import Leases
    from dockercni.plugins.ranges import RangeSet


_KEYS: Final = (*ranges.KEYS, "ranges", "routes", "dataDir", "resolvConf")
_MAX_RESOLV_CONF: Final = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class _Plan:
    """The validated configuration. `wanted` are the requested addresses, from all places, without duplicates."""

    sets: tuple[RangeSet, ...]
    wanted: tuple[Address, ...]
    routes: tuple[Route, ...]
    data_directory: str
    resolv_conf: str


def unsupported(conf: Mapping[str, Any]) -> str:
    """See Plugin."""
    return _unknown(conf)


def validate(request: Request) -> None:
    """See Plugin. Raises OSError for a resolvConf that cannot be read."""
    read_resolv_conf(_read(request).resolv_conf)


def add(request: Request) -> Result:
    """Reserve one address of each range set; the result has no interfaces.

    Raises PluginFailure: exhausted, taken, not in any set, or the attachment has an address already.
    """
    plan = _read(request)
    dns = read_resolv_conf(plan.resolv_conf)
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
    with leases.locked(_read(request).data_directory, request.name) as store:
        if not store.holds(request.container_id, request.ifname):
            raise PluginFailure(f"host-local: Failed to find address added by container {request.container_id}")


def delete(request: Request) -> None:
    """Release all leases of the attachment; none is success. Raises PluginFailure for a bad configuration."""
    with leases.locked(_read(request).data_directory, request.name) as store:
        store.release(request.container_id, request.ifname)


def status(request: Request) -> None:
    """An ADD can be served if the configuration is good: whether an address is free depends on who asks."""
    validate(request)


def gc(request: Request) -> None:
    """Release the leases of all but the valid attachments, unless their address is in use. Raises PluginFailure."""

    from dockercni.linux import netns_state  # noqa: PLC0415  rarely used, and slow to import at a cold start

    listed = request.fields.get("cni.dev/valid-attachments")
    if listed is None:  # the name that older runtimes used
        listed = request.fields.get("cni.dev/attachments")
    if listed is None:
        raise PluginFailure("GC without a list of valid attachments")
    each = list(Fields({"attachments": listed}).objects("attachments"))
    with leases.locked(_read(request).data_directory, request.name) as store:
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


def _unknown(conf: Mapping[str, Any]) -> str:
    """Say which keys of `ipam` are not host-local's; "" if none. Keys outside of it are the calling plugin's."""
    ipam = strict_json.lookup(conf, "ipam")
    if not isinstance(ipam, dict):
        return ""
    sets = strict_json.lookup(ipam, "ranges")
    inner = [each for one in sets if isinstance(one, list) for each in one] if isinstance(sets, list) else []
    reasons = [keys.unknown(each, ranges.KEYS, "ipam.ranges: ") for each in inner if isinstance(each, dict)]
    return next(filter(None, [keys.unknown(ipam, _KEYS, "ipam: "), *reasons]), "")


def _read(request: Request) -> _Plan:
    """Read and validate. Raises PluginFailure in the words of the reference, DocumentError for wrong types."""
    fields = request.fields
    if fields.get("ipam") is None:
        raise PluginFailure("IPAM config missing 'ipam' key")
    ipam, runtime = fields.object("ipam"), fields.object("runtimeConfig")
    argument = request.arguments("IP").get("IP", "")
    if argument and addresses.parse_either(argument) is None:
        raise PluginFailure(f'ARGS: error parsing value of pair "IP={argument}": invalid IP address {argument}')
    texts = [
        *([argument] if argument else []),
        *fields.object("args").object("cni").strings("ips"),
        *runtime.strings("ips"),
    ]
    wanted = dict.fromkeys(map(_wanted, texts))
    single = [[ipam]] if ipam.string("subnet") else []
    sets = ranges.read([*_range_sets(runtime, "ipRanges"), *single, *_range_sets(ipam, "ranges")])
    if not sets:
        raise PluginFailure("no IP ranges specified")
    addresses.check_families(request, (each.ranges[0].start for each in sets))
    ranges.check_apart(sets)
    directory, resolv_conf = ipam.string("dataDir"), ipam.string("resolvConf")
    return _Plan(sets, tuple(wanted), addresses.routes(ipam), directory, resolv_conf)


def _wanted(text: str) -> Address:
    address = addresses.parse_either(text)
    if address is None:
        raise PluginFailure(f"cannot understand ip: IP {text or '<nil>'} not v4 nor v6")
    return address


def _range_sets(fields: Fields, key: str) -> list[list[Fields]]:
    found = []
    for index, each in enumerate(fields.array(key)):
        if not isinstance(each, list):
            fields.fail(f"{key}[{index}]", f"must be an array, not {shown(each)}")
        place = fields.at(f"{key}[{index}]")
        found.append([Fields.of(one, f"{place}[{position}]") for position, one in enumerate(each)])
    return found


def read_resolv_conf(path: str) -> DNS:
    """The DNS settings of a file; empty ones without a path. Raises OSError."""
    if not path:
        return DNS()
    from dockercni.files import read_regular  # noqa: PLC0415  a cold start must not pay for what is hardly used

    return parse_resolv_conf(read_regular(path, _MAX_RESOLV_CONF, follow=True).decode("utf-8", "replace"))


def parse_resolv_conf(text: str) -> DNS:
    """The DNS settings of a text: the last domain, and all other values. Unknown lines and comments are skipped."""
    found: dict[str, list[str]] = {"nameserver": [], "domain": [], "search": [], "options": []}
    for line in text.splitlines():
        keyword, *values = line.split() or [""]
        if keyword in found and values:
            found[keyword] += values[:1] if keyword in {"nameserver", "domain"} else values
    return DNS(
        tuple(found["nameserver"]),
        next(reversed(found["domain"]), ""),
        tuple(found["search"]),
        tuple(found["options"]),
    )
