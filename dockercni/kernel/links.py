"""Links and routes of the network namespace that the program itself runs in, over netlink."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network
from socket import AF_INET
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from dockercni.kernel.namespaces import Namespace

_IFNAMSIZ: Final = 16


def is_bridge(name: str) -> bool:
    """Whether there is a link `name` and it is a bridge."""
    with IPRoute() as netlink:
        link = _link(netlink, name)
        return link is not None and (link.get("IFLA_LINKINFO") or {}).get("IFLA_INFO_KIND") == "bridge"


def has_ports(bridge: str) -> bool:
    """Whether any link has `bridge` as its master; False when there is no such bridge."""
    with IPRoute() as netlink:
        link = _link(netlink, bridge)
        return link is not None and any(port.get("IFLA_MASTER") == link["index"] for port in netlink.get_links())


def routed(besides: str) -> list[IPv4Network]:
    """The IPv4 destinations that this host has routes to, without default routes and those over link `besides`."""
    with IPRoute() as netlink:
        link = _link(netlink, besides)
        return [
            IPv4Network((route.get("RTA_DST"), route["dst_len"]))
            for route in netlink.get_routes(family=AF_INET)
            if route["dst_len"] > 0 and (link is None or route.get("RTA_OIF") != link["index"])
        ]


def put_back(namespace: Namespace, ifname: str, addresses: Sequence[str], routes: Sequence[tuple[str, str]]) -> None:
    """Give link `ifname` of the namespace addresses ("10.0.0.2/24") and routes (destination, gateway or "") again.

    What is there already is no error. Raises OSError.
    """
    # all of it inside: pyroute2 opens a socket for each thread that uses the object, wherever that thread is
    namespace.run(lambda: _put_back(ifname, addresses, routes))


def _put_back(ifname: str, addresses: Sequence[str], routes: Sequence[tuple[str, str]]) -> None:
    with IPRoute() as netlink:
        link = _link(netlink, ifname)
        if link is None:
            raise OSError(errno.ENODEV, "no such link", ifname)
        for address in addresses:
            _tolerant(netlink.addr, "add", index=link["index"], address=address)
        _tolerant(netlink.link, "set", index=link["index"], state="up")
        for destination, gateway in routes:
            via = {"gateway": gateway} if gateway else {}
            _tolerant(netlink.route, "add", dst=destination, oif=link["index"], **via)


def _tolerant(change: Callable[..., Any], verb: str, **what: Any) -> None:
    try:
        change(verb, **what)
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise OSError(error.code, str(error), str(what)) from error


def _link(netlink: IPRoute, name: str) -> Any | None:
    if not 0 < len(os.fsencode(name)) < _IFNAMSIZ or "\0" in name:  # a plugin may print anything
        return None
    try:
        return next(iter(netlink.link("get", ifname=name)), None)
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            return None
        raise
