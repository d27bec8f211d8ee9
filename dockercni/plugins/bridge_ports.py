"""The host's side of a bridge network: the bridge, its ports, the gateway's addresses on it."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import TYPE_CHECKING, Final

from dockercni.linux import addr, links, sysctl
from dockercni.linux.links import End, Link
from dockercni.linux.netlink import Netlink, NetlinkError
from dockercni.plugins.contract import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from dockercni.linux.addr import Interface
    from dockercni.linux.netlink import Message
    from dockercni.plugins.bridge_conf import BridgeConf

_NAMES_TRIED: Final = 10
_SETTLING: Final = 2.55  # seconds that a port may take to become operational
_LEARNING: Final = 65.0  # seconds that spanning tree may take: twice the longest forward delay, which is 30 s
_FIRST_PAUSE: Final = 0.0002
_LONGEST_PAUSE: Final = 0.1


def ensure_bridge(host: Netlink, conf: BridgeConf) -> Link:
    """The bridge of a network, made if it is missing, and up. Raises PluginFailure."""
    try:
        return _ensure_bridge(host, conf)
    except (OSError, PluginFailure) as error:
        raise PluginFailure(f'failed to create bridge "{conf.bridge}": {error}') from error


def _ensure_bridge(host: Netlink, conf: BridgeConf) -> Link:
    found = links.find(host, conf.bridge) or _new_bridge(host, conf)
    if found.kind != "bridge":
        raise PluginFailure(f'"{conf.bridge}" already exists but is not a bridge')
    changes = []
    if conf.promiscuous:
        changes.append(links.set_flags(found.index, on=links.PROMISCUOUS))
    if found.mac == _NO_MAC:
        # A bridge without a MAC of its own loses it with its last port, and an empty MAC cannot be pinned.
        changes.append(links.set_mac(found.index, _random_mac()))
    with contextlib.suppress(OSError):
        sysctl.write(f"net/ipv6/conf/{found.name}/accept_ra", "0")
    if not found.up:
        changes.append(links.set_flags(found.index, on=links.UP))
    if not changes:
        return found
    host.do(*changes)
    return links.at(host, found.index) or found


def _new_bridge(host: Netlink, conf: BridgeConf) -> Link:
    if not conf.bridge:  # the kernel would choose a name
        raise PluginFailure('could not add "": LinkAttrs.Name cannot be empty')
    try:
        host.do(links.new_bridge(conf.bridge, mtu=conf.mtu, vlan_filtering=conf.vlan_filtering))
    except NetlinkError as error:
        if error.errno != errno.EEXIST:  # another process made it at the same time
            raise PluginFailure(f'could not add "{conf.bridge}": {error}') from error
    found = links.find(host, conf.bridge)
    if found is None:
        raise PluginFailure(f'could not lookup "{conf.bridge}": Link not found')
    return found


def add_port(host: Netlink, bridge: Link, inner: End, conf: BridgeConf, trunk: tuple[int, ...] = ()) -> str:
    """Make a veth pair: `inner`, and a port of the bridge, whose name is returned. Raises PluginFailure."""
    name = _new_pair(host, bridge, inner)
    settle_port(host, name, conf, trunk)
    return name


def settle_port(host: Netlink, name: str, conf: BridgeConf, trunk: tuple[int, ...] = ()) -> None:
    """Set what a link needs as a port of the bridge. Raises PluginFailure."""
    with contextlib.suppress(OSError):  # a kernel without IPv6
        # A port only forwards frames, and needs no IPv6 routes of its own. They would slow down every change of a
        # link, because the kernel then walks through the routes of all ports.
        host.do(links.without_link_local(name))
    with contextlib.suppress(OSError):
        sysctl.write(f"net/ipv6/conf/{name}/accept_ra", "0")
    if conf.vlan or trunk:
        _join_vlans(host, name, conf, trunk)


def set_flags(host: Netlink, port: str, conf: BridgeConf) -> None:
    """Give a new port its flags. Raises PluginFailure."""
    if conf.hairpin or conf.isolated:  # a new port has neither
        try:
            host.do(links.set_port(port, hairpin=conf.hairpin, isolated=conf.isolated))
        except NetlinkError as error:
            raise PluginFailure(f"failed to setup hairpin mode for {port}: {error}") from error


def ensure_vlan_gateway(host: Netlink, bridge: Link, conf: BridgeConf) -> Link:
    """The host's own link in the VLAN of a network, which has the gateway's address. Raises PluginFailure."""
    name = f"{bridge.name}.{conf.vlan}"
    found = links.find(host, name)
    if found is None:
        add_port(host, bridge, End(name, mtu=bridge.mtu), conf)
        found = links.find(host, name)
        if found is None:
            raise PluginFailure(f'failed to create vlan interface: failed to lookup "{name}": Link not found')
        host.do(links.set_flags(found.index, on=links.UP))
    return found


def ensure_address(host: Netlink, link: Link, address: Interface, *, force: bool, again: bool = False) -> None:
    """Give the bridge (or its link in a VLAN) the gateway's address; a new one pins its MAC. Raises PluginFailure.

    With `again` the kernel skips duplicate address detection, which was done before. The MAC is pinned because a bridge
    without one of its own takes the lowest MAC of its ports, which changes as ports come and go.
    """
    changes: list[Message] = []
    for assigned in addr.addresses(host, link.index, address.version):
        other = assigned.address
        if other == address:
            host.do(*changes)
            return
        overlapping = address.ip in other.network or other.ip in address.network
        if address.version == 4 or overlapping:
            if not force:
                raise PluginFailure(f'"{link.name}" already has an IP address different from {address}')
            changes.append(addr.remove_address(link.index, other))
    changes.append(addr.add_address(link.index, address, again=again))
    pin = links.set_mac(link.index, link.mac)
    for error in host.try_all([*changes, pin]):
        if error.index < len(changes) - 1:
            raise PluginFailure(f'could not remove IP address from "{link.name}": {error}') from error
        if error.index == len(changes):
            raise PluginFailure(f"could not set bridge's mac: {error}") from error
        if error.errno != errno.EEXIST:
            raise PluginFailure(f'could not add IP address {address} to "{link.name}": {error}') from error


def await_operational(host: Netlink, name: str) -> Link:
    """Wait until the port is operational, a moment after its other end is up. Raises PluginFailure."""
    return _await(host, name, lambda port: port.operational, _SETTLING, "bridge port in error state: down")


def await_forwarding(host: Netlink, name: str) -> None:
    """Wait until the bridge forwards frames from the port. Raises PluginFailure.

    With spanning tree that takes twice the forward delay after the port came up. Frames sent earlier are lost.
    """
    await_operational(host, name)
    problem = f"bridge port {name} does not forward after {_LEARNING:g} s, because of the bridge's spanning tree"
    _await(host, name, lambda port: port.forwarding, _LEARNING, problem)


def _await(host: Netlink, name: str, ready: Callable[[Link], bool], seconds: float, problem: str) -> Link:
    deadline = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    while True:
        port = links.find(host, name)
        if port is None:
            raise PluginFailure("Link not found")
        if ready(port):
            return port
        if time.monotonic() > deadline:
            raise PluginFailure(problem)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _new_pair(host: Netlink, bridge: Link, inner: End) -> str:
    for _ in range(_NAMES_TRIED):
        port = f"veth{os.urandom(4).hex()}"
        try:
            host.do(links.new_veth(End(port, mtu=inner.mtu, queue=0, master=bridge.index, up=True), inner))
        except ValueError as error:
            raise PluginFailure(
                f'failed to make veth pair: failed to parse MAC address "{inner.mac}": {error}'
            ) from error
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise PluginFailure(f"failed to make veth pair: {error}") from error
            if links.find(host, port) is None:
                problem = f'container veth name ("{inner.name}") peer provided ("{port}") already exists'
                raise PluginFailure(problem) from error
        else:
            return port
    raise PluginFailure("failed to find a unique veth name")


def _join_vlans(host: Netlink, name: str, conf: BridgeConf, trunk: tuple[int, ...]) -> None:
    port = links.find(host, name)
    if port is None:
        raise PluginFailure(f'failed to lookup "{name}": Link not found')
    changes = []
    if not conf.preserve_default_vlan:
        changes += [links.remove_vlan(port.index, vid) for vid in links.vlans(host, port.index)]
    if conf.vlan:
        changes.append(links.add_vlan(port.index, conf.vlan, native=True))
    changes += [links.add_vlan(port.index, vid) for vid in trunk]
    if not conf.vlan:
        changes.append(links.add_vlan(port.index, 1, native=True))
    try:
        host.do(*changes)
    except NetlinkError as error:
        raise PluginFailure(f'failed to setup vlan tag on interface "{name}": {error}') from error


def _random_mac() -> str:
    """A random MAC: locally administered, unicast."""
    raw = bytearray(os.urandom(6))
    raw[0] = raw[0] & 0xFE | 0x02
    return raw.hex(":")


_NO_MAC: Final = "00:00:00:00:00:00"
