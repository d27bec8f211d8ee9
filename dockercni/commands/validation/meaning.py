"""The values of a plugin's configuration: what its own parser refuses, and what ADD accepts but cannot work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Network
from typing import Any, Final

from dockercni.cni import EXEC, CNIError, NetworkList, PluginCall, strict_json
from dockercni.cni.strict_json import DocumentError, Fields
from dockercni.plugins import addresses, dispatch, ranges
from dockercni.plugins.contract import Request
from dockercni.plugins.table import PLUGINS

Problem = tuple[str, str]  # the path of a key, and what is wrong with it

_CHAINED: Final = {"bandwidth", "firewall", "portmap", "sbr", "tuning", "vrf"}
_MODES: Final = {
    "macvlan": ("", "bridge", "private", "vepa", "passthru"),
    "ipvlan": ("", "l2", "l3", "l3s"),
}


class _NoPlugins:
    """A runner that serves nothing, since validating a configuration calls no other plugin."""

    path = ""

    def choose(self, *_: object) -> str:
        return EXEC

    def run(self, call: PluginCall) -> bytes:
        raise CNIError(f"{call.plugin} is not asked", 0)


def problems(network: NetworkList, position: int) -> Iterator[Problem]:
    """What is wrong with the plugin in that position, and with its IPAM; paths begin at the plugin's object."""
    plugin = network.plugins[position]
    if position == 0 and plugin.type in _CHAINED:
        yield "type", f"plugin {plugin.type} cannot be the first: it needs the result of another one"
    fields = Fields(plugin.raw)
    try:
        ipam = fields.object("ipam")
        source = ipam.string("type")
        for kind in (plugin.type, source):
            yield from _parsed(kind, network, plugin.raw, "ipam" if kind == source != plugin.type else "")
        yield from _CHECKS.get(plugin.type, _nothing)(fields)
        yield from _IPAM.get(source, _nothing)(ipam)
    except DocumentError as error:
        yield error.key, error.problem


def _parsed(kind: str, network: NetworkList, conf: Mapping[str, Any], within: str) -> Iterator[Problem]:
    if kind not in PLUGINS:
        return
    whole = {**conf, "name": network.name, "cniVersion": network.cni_version}
    call = PluginCall(kind, "STATUS", whole, {})
    request = Request(call, whole, network.name, network.cni_version, "", "", "", _NoPlugins())
    try:
        dispatch.load(kind).validate(request)
    except DocumentError as error:
        yield error.key, error.problem
    except CNIError as error:
        yield _culprit(conf, within, str(error)), str(error)
    except OSError as error:
        yield _culprit(conf, within, str(error.filename)), f"{error.filename}: {error.strerror}"


def _culprit(conf: Mapping[str, Any], within: str, message: str) -> str:
    """The path of the value that an error is probably about: the first whose key and value, or either, it contains."""
    text = message.replace(" ", "").lower()
    leaves = list(_leaves(strict_json.lookup(conf, within) if within else conf, within))
    named = [path for path, _ in leaves if path.rpartition(".")[2].lower() in text]
    valued = [path for path, value in leaves if len(str(value)) > 1 and str(value).lower() in text]
    both = [path for path in named if path in valued]
    return next(iter([*both, *valued, *named]), f"{within}.type" if within else "type")


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, one in value.items():
            if path or key.lower() not in {"type", "ipam", "capabilities", "dns"}:
                yield from _leaves(one, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _leaves(one, f"{path}[{number}]")
    elif path.rpartition(".")[2].lower() != "type":
        yield path, value


def _nothing(_: Fields) -> Iterator[Problem]:
    return iter(())


def _mode(kind: str) -> Callable[[Fields], Iterator[Problem]]:
    def check(fields: Fields) -> Iterator[Problem]:
        if (mode := fields.string("mode")) not in _MODES[kind]:
            yield "mode", f'"{mode}" is not one of {", ".join(_MODES[kind][1:])}'

    return check


def _vlan(fields: Fields) -> Iterator[Problem]:
    if not fields.string("master"):
        yield "type", "master is missing: the link that carries the VLAN"
    if not 0 <= (fields.integer("vlanId") or 0) <= 4094:
        yield "vlanId", "must be from 0 to 4094"


def _host_device(fields: Fields) -> Iterator[Problem]:
    if not any(fields.string(key) for key in ("device", "hwaddr", "kernelpath", "pciBusID")):
        yield "type", "one of device, hwaddr, kernelpath and pciBusID must name the device"


def _ptp(fields: Fields) -> Iterator[Problem]:
    if not fields.object("ipam").string("type"):
        yield "type", "ptp needs ipam: without addresses there is no route to the container"


def _bandwidth(fields: Fields) -> Iterator[Problem]:
    for way in ("ingress", "egress"):
        rate, burst = fields.integer(f"{way}Rate") or 0, fields.integer(f"{way}Burst") or 0
        if rate < 0 or burst < 0 or bool(rate) != bool(burst):
            yield f"{way}{'Rate' if rate else 'Burst'}", f"{way}Rate and {way}Burst belong together, both above 0"


def _vrf(fields: Fields) -> Iterator[Problem]:
    if not fields.string("vrfname"):
        yield "type", "vrfname is missing"


def _host_local(ipam: Fields) -> Iterator[Problem]:
    """What host-local accepts although it cannot work: it does not compare gateways with their subnets."""
    single = [ipam] if ipam.get("subnet") is not None else []
    sets = [(f"ipam.ranges[{n}][{m}]", Fields(one, f"ipam.ranges[{n}][{m}]"))
            for n, each in enumerate(ipam.array("ranges")) if isinstance(each, list)
            for m, one in enumerate(each) if isinstance(one, dict)]  # fmt: skip
    for place, fields in [*(("ipam", one) for one in single), *sets]:
        try:
            (one,) = ranges.read([[fields]])[0].ranges
        except CNIError:
            continue  # reported by the plugin's own parser
        subnet = one.subnet
        if one.gateway not in subnet:
            yield f"{place}.gateway", f"{one.gateway} is not in the subnet {subnet}"
        elif one.gateway == subnet.network_address and subnet.prefixlen < subnet.max_prefixlen - 1:
            yield f"{place}.gateway", f"{one.gateway} is the address of the network {subnet} itself"
        elif isinstance(subnet, IPv4Network) and one.gateway == subnet.broadcast_address:
            yield f"{place}.gateway", f"{one.gateway} is the broadcast address of {subnet}"
        if one.start == one.end == one.gateway:
            yield f"{place}.rangeStart", f"the range {one} has no address besides the gateway's"


def _static(ipam: Fields) -> Iterator[Problem]:
    for number, fields in enumerate(ipam.objects("addresses")):
        address = addresses.parse_prefixed(fields.string("address"))
        gateway = addresses.read(fields, "gateway")
        if address and gateway and gateway not in address.network:
            yield f"ipam.addresses[{number}].gateway", f"{gateway} is not in the subnet {address.network}"


_CHECKS: Final[Mapping[str, Callable[[Fields], Iterator[Problem]]]] = {
    "bandwidth": _bandwidth,
    "host-device": _host_device,
    "ipvlan": _mode("ipvlan"),
    "macvlan": _mode("macvlan"),
    "ptp": _ptp,
    "vlan": _vlan,
    "vrf": _vrf,
}
_IPAM: Final[Mapping[str, Callable[[Fields], Iterator[Problem]]]] = {"host-local": _host_local, "static": _static}
