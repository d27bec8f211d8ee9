"""Which keys plugins know, those of dockercni and the reference plugins. Pure.

An executable ignores a key that it does not know, and a built-in plugin leaves such a network to the executable. So a
misspelt key has no effect, and only this check reports it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from dockercni.cni import strict_json
from dockercni.plugins import bridge_conf, keys, ranges, tuning_conf
from dockercni.settings import nearest

_LIST: Final = (
    "cniVersion", "cniVersions", "name", "plugins", "disableCheck", "disableGC", "loadOnlyInlinedPlugins", "dockercni"
)  # fmt: skip
PLUGINS: Final[Mapping[str, tuple[str, ...]]] = {
    "bandwidth": ("ingressRate", "ingressBurst", "egressRate", "egressBurst", "shapedSubnets", "unshapedSubnets"),
    "bridge": (*bridge_conf.KEYS, "ipMasqBackend"),
    "dummy": (),
    "firewall": ("backend", "iptablesAdminChainName", "firewalldZone", "ingressPolicy"),
    "flannel": ("delegate", "dataDir", "subnetFile", "subnet"),
    "host-device": ("device", "hwaddr", "kernelpath", "pciBusID"),
    "ipvlan": ("master", "mode", "mtu", "linkInContainer"),
    "loopback": (),
    "macvlan": ("master", "mode", "mtu", "mac", "linkInContainer", "bcqueuelen"),
    "portmap": (
        "backend", "snat", "markMasqBit", "externalSetMarkChain", "conditionsV4", "conditionsV6", "masqAll"
    ),
    "ptp": ("ipMasq", "ipMasqBackend", "mtu"),
    "sbr": ("table", "addSourceHints"),
    "tap": ("mac", "mtu", "multiQueue", "owner", "group", "selinuxContext", "bridge"),
    "tuning": tuning_conf.KEYS,
    "vlan": ("master", "vlanId", "mtu", "linkInContainer"),
    "vrf": ("vrfname", "table"),
}  # fmt: skip
IPAM: Final[Mapping[str, tuple[str, ...]]] = {
    "dhcp": ("daemonSocketPath", "request", "provide", "priority"),
    "host-local": (*ranges.KEYS, "ranges", "routes", "dataDir", "resolvConf"),
    "static": ("addresses", "routes"),
}
_INNER: Final[Mapping[str, tuple[str, ...]]] = {
    "addresses": ("address", "gateway"),
    "dns": ("nameservers", "domain", "search", "options"),
    "provide": ("option", "value", "fromArg"),
    "ranges": ranges.KEYS,
    "request": ("option", "skipDefault"),
    "routes": ("dst", "gw", "mtu", "advmss", "priority", "table", "scope"),
    "vlanTrunk": ("id", "minID", "maxID"),
}
"""The keys of the objects below those keys, whether in an array or not."""


def unknown_of_list(extra: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Keys of the whole list that resemble a known one; others may belong to other programs."""
    for key in extra:
        if key not in _LIST and not keys.is_foreign(key) and (hint := nearest(key, _LIST)):
            yield key, f"unknown key of a network{hint}"


def unknown(kind: str, conf: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each key of a plugin's object, IPAM included, that the plugin does not know, with the key probably meant."""
    if kind in PLUGINS:
        yield from _strangers(conf, PLUGINS[kind], "", f"plugin {kind}")
    ipam = strict_json.lookup(conf, "ipam")
    source = strict_json.lookup(ipam, "type") if isinstance(ipam, dict) else None
    if isinstance(source, str) and source in IPAM:
        yield from _strangers(ipam, IPAM[source], "ipam.", f"plugin {source}")


def _strangers(conf: Mapping[str, Any], known: tuple[str, ...], place: str, who: str) -> Iterator[tuple[str, str]]:
    for key in keys.strangers(conf, known):
        yield f"{place}{key}", f"unknown key of {who}{nearest(key, known)}"
    for inner, allowed in _INNER.items():
        if inner in known or inner == "dns":
            name = next((name for name in conf if name.lower() == inner.lower()), inner)
            for path, one in _objects(conf.get(name), f"{place}{name}"):
                for key in one:
                    if key.lower() not in {each.lower() for each in allowed} and not keys.is_foreign(key):
                        yield f"{path}.{key}", f"unknown key of {inner}{nearest(key, allowed)}"


def _objects(value: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, dict):
        yield path, value
    for number, one in enumerate(value if isinstance(value, list) else ()):
        yield from _objects(one, f"{path}[{number}]")
