"""What an attachment should have again: the addresses of the container's last run, and the MAC that goes with them.

Other hosts keep the MAC of an address in their neighbour tables, and some do not hear of a new one, or ignore it (ARP
suppression on VXLAN). So an address keeps its MAC: the one that it had, or for an address that a label asked for one
that is derived from it, and so is the same on every host and for every container.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from ipaddress import IPv4Address, ip_interface
from typing import Final

from dockercni.cni import NetworkList
from dockercni.cni.strict_json import lookup
from dockercni.linux import links
from dockercni.model import IPAddress, NetworkRequest
from dockercni.reconcile.history import PastAttachment

_IPS: Final = "ips"
_MAC: Final = "mac"
_TAKES_MAC: Final = frozenset({"bridge", "macvlan"})  # by CNI_ARGS
# static fails for an address without its prefix, and dhcp takes what the server gives
_TAKES_NO_ADDRESS: Final = frozenset({"", "static", "dhcp"})
_DOCKER: Final = b"\x02\x42"  # the beginning of Docker's own MACs: locally administered, unicast


def complete(network: NetworkList, request: NetworkRequest, past: PastAttachment | None) -> NetworkRequest:
    """The request, completed with what the container had last where it names nothing; itself if nothing is added."""
    if not past and not request.ips:
        return request
    ips = request.ips or _ips(network, past)
    mac = request.mac or _mac(network, request, past)
    return replace(request, ips=ips, mac=mac) if (ips, mac) != (request.ips, request.mac) else request


def _ips(network: NetworkList, past: PastAttachment | None) -> tuple[IPAddress, ...]:
    ips = tuple(ip_interface(ip).ip for ip in past.ips) if past else ()
    if _IPS in network.capabilities:
        return ips
    return () if _ipam(network) in _TAKES_NO_ADDRESS else ips[:1]  # CNI_ARGS has room for one


def _ipam(network: NetworkList) -> str:
    """The type of the first plugin's IPAM plugin, or of that of the plugin that this one delegates to."""
    conf = network.plugins[0].raw
    delegate = lookup(conf, "delegate")
    for place in (delegate, conf):
        if isinstance(place, dict) and isinstance(ipam := lookup(place, "ipam"), dict):
            return str(lookup(ipam, "type") or "")
    return "host-local" if isinstance(delegate, dict) or network.plugins[0].type == "flannel" else ""


def _mac(network: NetworkList, request: NetworkRequest, past: PastAttachment | None) -> str:
    takes = _MAC in network.capabilities or network.plugins[0].type in _TAKES_MAC
    if not takes or any(lookup(plugin.raw, _MAC) for plugin in network.plugins):  # a configured one counts
        return ""
    if past and _usable(past.mac):
        return past.mac
    return _made_of(request.ips[0]) if request.ips else ""


def _usable(mac: str) -> bool:
    """Whether a link can have that MAC: a result may say anything."""
    try:
        raw = links.parse_mac(mac)
    except ValueError:
        return False
    return any(raw) and not raw[0] & 1


def _made_of(address: IPAddress) -> str:
    packed = address.packed
    short = packed if isinstance(address, IPv4Address) else hashlib.blake2b(packed, digest_size=4).digest()
    return (_DOCKER + short).hex(":")
