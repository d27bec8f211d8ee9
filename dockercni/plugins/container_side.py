"""The container's side of an attachment: its link's addresses and routes, by an IPAM plugin's result."""

from __future__ import annotations

import contextlib
import errno
import time
from typing import TYPE_CHECKING, Final

from dockercni.linux import addr, links
from dockercni.plugins import addresses
from dockercni.plugins.contract import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dockercni.cni.result import IPConfig, Result, Route
    from dockercni.linux.netlink import Message
    from dockercni.linux.netns import NetnsHandle
    from dockercni.plugins.addresses import Address

_SETTLING: Final = 5.0  # seconds for duplicate address detection
_PAUSE: Final = 0.05


def prepare(inside: NetnsHandle, ifname: str, *, dad: bool) -> None:
    """Set duplicate address detection and ARP announcements, which take effect only for later addresses."""
    wanted = {f"ipv6/conf/{ifname}/accept_dad": "1" if dad else "0", f"ipv4/conf/{ifname}/arp_notify": "1"}
    if dad:
        wanted[f"ipv6/conf/{ifname}/enhanced_dad"] = "1"
    for name, value in wanted.items():
        with contextlib.suppress(OSError):
            inside.sysctls.write(name, value)


def configure(inside: NetnsHandle, link: int, ifname: str, ips: Sequence[IPConfig], routes: Sequence[Route]) -> None:
    """Add the addresses, set the link up, add the routes. Raises PluginFailure."""
    if any(ip.address.version == 6 for ip in ips):
        _enable_ipv6(inside, ifname)
    gateways: dict[int, Address] = {ip.gateway.version: ip.gateway for ip in reversed(ips) if ip.gateway}
    steps = [(addr.add_address(link, ip.address), f'failed to add IP addr {ip.address} to "{ifname}"') for ip in ips]
    steps.append((links.set_flags(link, on=links.UP), f'failed to set "{ifname}" UP'))
    if 6 in gateways:
        _carry_out(inside, steps)
        _settle(inside, link, ifname)
        steps = []
    _carry_out(inside, [*steps, *_routes(link, ifname, gateways, routes)])


def repair(
    inside: NetnsHandle,
    link: int,
    ifname: str,
    attached: Result,
    ips: Sequence[IPConfig],
    routes: Sequence[Route],
    *,
    point_to_point: bool,
) -> None:
    """Add the addresses and routes of an attachment that its link lacks. Raises PluginFailure.

    IPv6 is enabled first, because disabling it removed the addresses and routes. What exists already is no error.
    """
    if any(ip.address.version == 6 for ip in ips):
        _enable_ipv6(inside, ifname)
    gateways: dict[int, Address] = {ip.gateway.version: ip.gateway for ip in reversed(attached.ips) if ip.gateway}
    steps = [
        (
            addr.add_address(link, ip.address, again=True, alone=point_to_point),
            f'failed to add IP addr {ip.address} to "{ifname}"',
        )
        for ip in ips
    ]
    steps.append((links.set_flags(link, on=links.UP), f'failed to set "{ifname}" UP'))
    if point_to_point:
        steps += _routes_to_gateways(link, attached)
    _carry_out(inside, [*steps, *_routes(link, ifname, gateways, routes)], forgive=errno.EEXIST)


def _routes_to_gateways(link: int, attached: Result) -> Iterator[tuple[Message, str]]:
    """The routes of the ptp plugin, which lead through the gateway and replace the kernel's route to the subnet."""
    for ip in attached.ips:
        if ip.gateway:
            alone = addresses.with_prefix(ip.gateway, ip.gateway.max_prefixlen).network
            for path in (
                addr.Route(alone, link, scope=addr.LINK_SCOPE),
                addr.Route(ip.address.network, link, ip.gateway),
            ):
                yield addr.add_route(path), f"failed to add route {path.dst}"


def _routes(
    link: int, ifname: str, gateways: Mapping[int, Address], routes: Sequence[Route]
) -> Iterator[tuple[Message, str]]:
    """The messages that add the routes. One without a gateway gets the first of its family, as in the reference."""
    for route in routes:
        gateway = route.gw or gateways.get(route.dst.version)
        problem = f"failed to add route '{route.dst} via {gateway} dev {ifname} metric {route.priority}'"
        if gateway and gateway.version != route.dst.version:
            raise PluginFailure(f"{problem}: gateway, source, and destination ip are not the same IP family")
        path = addr.Route(
            route.dst,
            link,
            gateway,
            route.priority,
            route.table or addr.MAIN,
            route.scope or 0,
            route.mtu,
            route.advmss,
        )
        yield addr.add_route(path), problem


def _carry_out(inside: NetnsHandle, steps: Sequence[tuple[Message, str]], forgive: int = 0) -> None:
    failures = inside.netlink.try_all([message for message, _ in steps])
    for failure in failures:
        if failure.errno != forgive:
            raise PluginFailure(f"{steps[failure.index][1]}: {failure}") from failure


def _enable_ipv6(inside: NetnsHandle, ifname: str) -> None:
    for name in ("lo", ifname):
        setting = f"ipv6/conf/{name}/disable_ipv6"
        try:
            value = inside.sysctls.read(setting)
        except OSError:  # without IPv6 in the kernel, adding the address fails with the reason
            continue
        if value != "0":
            try:
                inside.sysctls.write(setting, "0")
            except OSError as error:
                problem = f'failed to enable IPv6 for interface "{name}" (net/{setting}={value}): {error}'
                raise PluginFailure(problem) from error
    try:
        inside.sysctls.write(f"ipv6/conf/{ifname}/keep_addr_on_down", "1")
    except OSError as error:
        raise PluginFailure(f'failed to enable keep_addr_on_down for interface "{ifname}": {error}') from error


def _settle(inside: NetnsHandle, link: int, ifname: str) -> None:
    """Wait for the end of duplicate address detection. Returns at once where it is off."""
    deadline = time.monotonic() + _SETTLING
    while True:
        assigned = addr.addresses(inside.netlink, link, 6)
        problem = ""
        if refused := next((each.address.ip for each in assigned if each.refused), None):
            problem = f"link {ifname} has address {refused} in DADFAILED state"
        elif not any(each.tentative for each in assigned):
            return
        elif time.monotonic() > deadline:
            problem = f"link {ifname} still has tentative addresses after {_SETTLING:g} seconds"
        if problem:
            raise PluginFailure(f'failed to settle addresses for "{ifname}": {problem}')
        time.sleep(_PAUSE)
