"""Switches forwarding on, without losing the host's own routes from router advertisements."""

from __future__ import annotations

from typing import Final

from dockercni.linux import addr, links, sysctl
from dockercni.linux.netlink import Netlink

SETTINGS: Final = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
_PHYSICAL: Final = frozenset({"", "bond", "team", "vlan"})  # kinds of links that lead to a router


class AdvertisementsLost(OSError):
    """Forwarding would cost the host its default route, and this cannot be prevented; the message names the link."""

    def __str__(self) -> str:
        return str(self.strerror)


def forward(version: int) -> None:
    """Let this host forward packets of IPv4 or IPv6. Raises OSError."""
    if sysctl.read(SETTINGS[version]) != "1":
        if version == 6:
            keep_advertisements()
        sysctl.write(SETTINGS[version], "1")


def keep_advertisements() -> list[str]:
    """Have links accept router advertisements even while this host forwards IPv6; returns the names of those changed.

    With accept_ra at 1, the default, a link accepts them only while it does not forward: when forwarding is switched
    on, the kernel drops the routes that it learned and ignores later advertisements (ip-sysctl, accept_ra). At boot the
    first one may not have come yet, so every link that can lead to a router counts. Raises OSError.
    """
    try:
        if sysctl.read(SETTINGS[6]) == "1":
            return []
    except FileNotFoundError:  # a kernel without IPv6
        return []
    kept = []
    with Netlink() as host:
        learned = addr.learned(host)
        found = links.every(host)
    for link in found:
        listens = link.index in learned or (link.kind in _PHYSICAL and not link.loopback)
        if listens and not link.master and _setting(link.name) == "1":
            name = f"net/ipv6/conf/{link.name}/accept_ra"
            try:
                sysctl.write(name, "2")
            except OSError as error:
                problem = f"the host's IPv6 routes over {link.name} come from router advertisements and would be lost"
                remedy = f"{name} cannot be set to 2 ({error.strerror}); set it with sysctl"
                raise AdvertisementsLost(error.errno, f"{problem}: {remedy}") from error
            kept.append(link.name)
    return kept


def _setting(link: str) -> str:
    try:
        return sysctl.read(f"net/ipv6/conf/{link}/accept_ra")
    except OSError:  # a link without IPv6, or gone
        return ""
