"""The container's half of an attachment: its link, under whatever name, and what is missing on it.

The only place that repairs addresses, routes and IPv6 settings, whatever removed them and whichever backend set them.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping

from dockercni.cni import CacheEntry
from dockercni.linux import links
from dockercni.linux.links import Link
from dockercni.linux.netlink import Netlink
from dockercni.linux.netns import Namespace
from dockercni.plugins import container_side
from dockercni.reconcile import records
from dockercni.reconcile.plan import Repair

_OTHER = "other%d"


def name_now(entry: CacheEntry, links: Mapping[str, Link], port: Callable[[], Link | None]) -> str:
    """The present name of the attachment's link among the `links` of its namespace; "" if it is gone.

    A container may rename it, and give its name to another one. `port` returns its other end on the host, if it has
    one: each end knows the other's index. Links without another end are recognised by their MAC.
    """
    mac = records.mac(entry)
    called = links.get(entry.ifname)
    if called and (not mac or called.mac == mac):
        return called.name
    if end := port():
        return next((each.name for each in links.values() if (each.index, each.peer) == (end.peer, end.index)), "")
    same = (each.name for each in links.values() if mac and each.mac == mac)
    return next(same, called.name if called else "")


def repair(entry: CacheEntry, lacking: Repair, namespace: Namespace) -> None:
    """Repair the container's side as `lacking` says, and the link's name. Raises CNIError, OSError."""
    result = entry.attached
    versions = {address.version for address in lacking.addresses}
    given = result.addresses_of(entry.ifname)
    ips = [ip for ip in result.ips if ip.address in given and ip.address.ip in lacking.addresses]
    # the kernel removes the routes of a family with its last address
    routes = [
        route
        for route in result.routes
        if route.dst.version in versions or records.destination(route) in lacking.routes
    ]
    with namespace.handle() as container:
        link = links.find(container.netlink, lacking.link)
        if link is None:
            raise OSError(errno.ENODEV, f"its interface {lacking.link!a} is gone")
        if lacking.link != entry.ifname:
            _rename(container.netlink, link, entry.ifname)
            ips, routes = list(filter(lambda ip: ip.address in given, result.ips)), list(result.routes)
        container_side.repair(
            container, link.index, entry.ifname, result, ips, routes, point_to_point=records.point_to_point(entry)
        )


def enter_for_del(entry: CacheEntry, port: Callable[[], Link | None]) -> bool:
    """Give the link its recorded name again, so that the DEL of plugins finds it; returns whether it exists.

    A plugin may have to do more than to remove the link: return it to the host, or end its DHCP lease.
    """
    try:
        with Namespace.open(entry.netns) as namespace, namespace.run(Netlink) as socket:
            found = {link.name: link for link in links.every(socket)}
            name = name_now(entry, found, port)
            if name not in {"", entry.ifname}:
                _rename(socket, found[name], entry.ifname)
            return bool(name)
    except OSError:
        return False


def _rename(socket: Netlink, link: Link, name: str) -> None:
    """Rename a link, which has to be down for that; another link of that name is renamed first."""
    other = links.find(socket, name)
    for index, wanted in ([(other.index, _OTHER)] if other else []) + [(link.index, name)]:
        socket.do(links.set_flags(index, off=links.UP), links.rename(index, wanted))
