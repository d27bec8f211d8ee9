"""The default routes of a network namespace: which there are, and how what an ADD did to them is undone."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Collection, Iterable

from dockercni.linux import addr
from dockercni.linux.addr import Path
from dockercni.linux.netlink import Netlink, NetlinkError
from dockercni.linux.netns import Namespace
from dockercni.linux.netns_handle import inside


def read(namespace: Namespace) -> list[Path]:
    """The default routes of the main table, of both families, one for each next hop. Raises OSError."""
    with namespace.run(Netlink) as socket:
        return _read(socket)


def keep(namespace: Namespace, before: Collection[Path], versions: Iterable[int], ifname: str) -> None:
    """Bring the default routes of these IP versions back to what they were `before` the link `ifname` came.

    Whatever router announces itself there later shall not get one either. Raises OSError.
    """
    with inside(namespace) as opened:
        for version in versions:
            if version == 6:
                with contextlib.suppress(OSError):  # a kernel without IPv6, or an interface that ADD named otherwise
                    opened.settings.write(f"ipv6/conf/{ifname}/accept_ra_defrtr", "0")
            now = [path for path in _read(opened.netlink) if path.dst.version == version]
            was = [path for path in before if path.dst.version == version]
            for path in now:
                if path not in was:
                    _remove(opened.netlink, path)
            for path in was:
                if path not in now:
                    # The engine may have switched IPv6 off meanwhile, as 20.10 does while a container starts. What is
                    # recorded and missing is put back by whoever looks at the container next.
                    with contextlib.suppress(NetlinkError):
                        opened.netlink.do(addr.add_route(path))


def _remove(socket: Netlink, path: Path) -> None:
    try:
        socket.do(addr.remove_route(path))
    except NetlinkError as error:
        if error.errno != errno.ESRCH:  # somebody was faster
            raise


def _read(socket: Netlink) -> list[Path]:
    return [path for version in (4, 6) for path in addr.routes(socket, version) if not path.dst.prefixlen]
