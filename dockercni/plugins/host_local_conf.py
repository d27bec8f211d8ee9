"""host-local's configuration, with what CNI_ARGS, args.cni and runtimeConfig add to it.

Reference: plugins/ipam/host-local/backend/allocator/config.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dockercni.cni import strict_json
from dockercni.cni.strict_json import Fields, shown
from dockercni.plugins import addresses, keys, ranges
from dockercni.plugins.contract import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockercni.cni.result import Route
    from dockercni.plugins.addresses import Address
    from dockercni.plugins.contract import Request
    from dockercni.plugins.ranges import RangeSet

_KEYS = (*ranges.KEYS, "ranges", "routes", "dataDir", "resolvConf")


@dataclass(frozen=True, slots=True)
class Plan:
    """What the configuration asks for. `wanted` are addresses that somebody asked for, whichever way, each once."""

    sets: tuple[RangeSet, ...]
    wanted: tuple[Address, ...]
    routes: tuple[Route, ...]
    data_directory: str
    resolv_conf: str


def unknown(conf: Mapping[str, Any]) -> str:
    """Say which keys of `ipam` are not host-local's; "" if none. The rest belongs to whoever delegates to it."""
    ipam = strict_json.lookup(conf, "ipam")
    if not isinstance(ipam, dict):
        return ""
    sets = strict_json.lookup(ipam, "ranges")
    inner = [each for one in sets if isinstance(one, list) for each in one] if isinstance(sets, list) else []
    reasons = [keys.unknown(each, ranges.KEYS, "ipam.ranges: ") for each in inner if isinstance(each, dict)]
    return next(filter(None, [keys.unknown(ipam, _KEYS, "ipam: "), *reasons]), "")


def read(request: Request) -> Plan:
    """The plan, validated. Raises PluginFailure in the words of the reference, DocumentError for wrong types."""
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
    return Plan(sets, tuple(wanted), addresses.routes(ipam), directory, resolv_conf)


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
