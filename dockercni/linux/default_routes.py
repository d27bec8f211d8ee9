"""The default routes of a network namespace: which there are, and how what an ADD did to them is undone."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Collection, Iterable

from dockercni.linux import addr
from dockercni.linux.addr import Route
from dockercni.linux.netlink import Netlink, NetlinkError
from dockercni.linux.netns import Namespace


def read(namespace: Namespace) -> list[Route]:
    """The default routes of the main table, of both families, one for each next hop. Raises OSError."""
    with namespace.run(Netlink) as socket:
        return _read(socket)


def keep(namespace: Namespace, before: Collection[Route], versions: Iterable[int], ifname: str) -> None:
    """Bring the default routes of these IP versions back to what they were `before` the link `ifname` came.

    Whatever router announces itself there later shall not get one either. Raises OSError.
    """
    with namespace.handle() as opened:
        for version in versions:
            if version == 6:
                with contextlib.suppress(OSError):  # a kernel without IPv6, or an interface that ADD named otherwise
                    opened.sysctls.write(f"ipv6/conf/{ifname}/accept_ra_defrtr", "0")
            now = [route for route in _read(opened.netlink) if route.dst.version == version]
            was = [route for route in before if route.dst.version == version]
            for route in now:
                if route not in was:
                    _remove(opened.netlink, route)
            for route in was:
                if route not in now:
                    # The engine may have switched IPv6 off meanwhile, as 20.10 does while a container starts. What is
                    # recorded and missing is put back by whoever looks at the container next.
                    with contextlib.suppress(NetlinkError):
                        opened.netlink.do(addr.add_route(route))


def _remove(socket: Netlink, route: Route) -> None:
    try:
        socket.do(addr.remove_route(route))
    except NetlinkError as error:
        if error.errno != errno.ESRCH:  # somebody was faster
            raise


def _read(socket: Netlink) -> list[Route]:
    return [route for version in (4, 6) for route in addr.routes(socket, version) if not route.dst.prefixlen]
