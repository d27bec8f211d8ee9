"""The keys of the bridge plugin, with their defaults and errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dockercni.cni import result, versions
from dockercni.cni.result import DNS
from dockercni.plugins.contract import PluginFailure

if TYPE_CHECKING:
    from dockercni.cni.strict_json import Fields
    from dockercni.plugins.contract import Request

KEYS: Final = (
    "bridge",
    "isGateway",
    "isDefaultGateway",
    "forceAddress",
    "ipMasq",
    "mtu",
    "hairpinMode",
    "promiscMode",
    "vlan",
    "vlanTrunk",
    "preserveDefaultVlan",
    "macspoofchk",
    "enabledad",
    "disableContainerInterface",
    "portIsolation",
)
_VLANS: Final = range(1, 4095)


@dataclass(frozen=True, slots=True)
class BridgeConf:
    """The configuration of a bridge network. `mac` is "" for any; `ipam` is the IPAM plugin, "" for layer 2 only."""

    bridge: str
    gateway: bool
    default_gateway: bool
    force_address: bool
    masquerade: bool
    mtu: int
    hairpin: bool
    promiscuous: bool
    vlan: int
    trunk: tuple[int, ...]
    vlan_filtering: bool
    preserve_default_vlan: bool
    spoof_check: bool
    dad: bool
    disable_container_interface: bool
    isolated: bool
    mac: str
    ipam: str
    dns: DNS


def read(request: Request) -> BridgeConf:
    """The configuration of a request, without the checks that only ADD makes. Raises CNIError."""
    return of(request.fields, _mac(request))


def of(fields: Fields, mac: str = "") -> BridgeConf:
    """The configuration that stands in `fields`; `mac` is that of the container's link. Raises CNIError."""
    vlan = fields.integer("vlan") or 0
    if vlan not in range(_VLANS.stop):
        raise PluginFailure(f"invalid VLAN ID {vlan} (must be between 0 and 4094)")
    trunk = _trunk(fields)
    default_gateway = fields.boolean("isDefaultGateway")
    return BridgeConf(
        bridge="cni0" if fields.get("bridge") is None else fields.string("bridge"),
        gateway=fields.boolean("isGateway") or default_gateway,
        default_gateway=default_gateway,
        force_address=fields.boolean("forceAddress"),
        masquerade=fields.boolean("ipMasq"),
        mtu=fields.integer("mtu") or 0,
        hairpin=fields.boolean("hairpinMode"),
        promiscuous=fields.boolean("promiscMode"),
        vlan=vlan,
        trunk=trunk,
        vlan_filtering=vlan != 0 or fields.get("vlanTrunk") is not None,
        preserve_default_vlan=fields.boolean("preserveDefaultVlan"),
        spoof_check=fields.boolean("macspoofchk"),
        dad=fields.boolean("enabledad"),
        disable_container_interface=fields.boolean("disableContainerInterface"),
        isolated=fields.boolean("portIsolation"),
        mac=mac,
        ipam=fields.object("ipam").string("type"),
        dns=DNS() if fields.get("dns") is None else result.parse({"dns": fields.get("dns")}, versions.CURRENT).dns,
    )


def check_exclusions(conf: BridgeConf) -> None:
    """Refuse options that exclude each other, as ADD does. Raises PluginFailure."""
    if conf.ipam and conf.disable_container_interface:
        raise PluginFailure("cannot use IPAM when DisableContainerInterface flag is set")
    if conf.hairpin and conf.promiscuous:
        raise PluginFailure("cannot set hairpin mode and promiscuous mode at the same time")


def _mac(request: Request) -> str:
    """The MAC of CNI_ARGS, args.cni or the capability; the last one given counts."""
    fields = request.fields
    places = (
        request.arguments("MAC").get("MAC", ""),
        fields.object("args").object("cni").string("mac"),
        fields.object("runtimeConfig").string("mac"),
    )
    return next((mac for mac in reversed(places) if mac), "")


def _trunk(fields: Fields) -> tuple[int, ...]:
    """The ids of `vlanTrunk`, sorted, without duplicates."""
    found: set[int] = set()
    for entry in fields.objects("vlanTrunk"):
        first, last, single = (entry.integer(key) for key in ("minID", "maxID", "id"))
        if first is not None and last is not None:
            if first not in _VLANS:
                raise PluginFailure("incorrect trunk minID parameter")
            if last not in _VLANS:
                raise PluginFailure("incorrect trunk maxID parameter")
            if last < first:
                raise PluginFailure("minID is greater than maxID in trunk parameter")
            found.update(range(first, last + 1))
        elif last is not None:
            raise PluginFailure("minID and maxID should be configured simultaneously, minID is missing")
        elif first is not None:
            raise PluginFailure("minID and maxID should be configured simultaneously, maxID is missing")
        if single is not None:
            if single not in _VLANS:
                raise PluginFailure("incorrect trunk id parameter")
            found.add(single)
    return tuple(sorted(found))
