"""IPv6 addresses of a network namespace: which are there, and putting them back after somebody switched IPv6 off."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path
from typing import Final

from dockercni.kernel import sysctl
from dockercni.kernel.namespaces import Namespace

_NODAD: Final = 0x02  # IFA_F_NODAD: it was tried when the address was given first


def addresses(namespace: Namespace) -> frozenset[tuple[str, IPv6Address]]:
    """The (interface, address) pairs in `namespace`."""
    return namespace.run(lambda: frozenset(_addresses()))


def restore(
    namespace: Namespace,
    ifname: str,
    given: Iterable[IPv6Interface],
    routes: Iterable[tuple[IPv6Network, IPv6Address | None]],
) -> None:
    """Switch IPv6 on for `ifname` and the loopback, and put addresses and routes back. Raises OSError."""
    namespace.run(lambda: _restore(ifname, list(given), list(routes)))


def _restore(ifname: str, given: list[IPv6Interface], routes: list[tuple[IPv6Network, IPv6Address | None]]) -> None:
    """Inside the namespace: sysctl files are those of the thread that opens them, and IPRoute opens its socket late."""
    from pyroute2 import IPRoute  # noqa: PLC0415  30 MiB, and hardly ever needed
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415  the same

    for link in ("lo", ifname):
        sysctl.write(f"net/ipv6/conf/{link}/disable_ipv6", "0")
    index = socket.if_nametoindex(ifname)
    with IPRoute() as netlink:
        try:
            for address in given:
                netlink.addr(
                    "replace", index=index, address=str(address.ip), prefixlen=address.network.prefixlen, flags=_NODAD
                )
            for destination, gateway in routes:
                how = {"gateway": str(gateway)} if gateway else {"oif": index}
                netlink.route("replace", dst=str(destination), family=socket.AF_INET6, **how)
        except NetlinkError as error:
            raise OSError(error.code, str(error)) from error


def _addresses() -> Iterator[tuple[str, IPv6Address]]:
    try:
        text = Path("/proc/thread-self/net/if_inet6").read_bytes()
    except FileNotFoundError:  # a kernel without IPv6
        return
    for line in text.split(b"\n"):  # in bytes: containers call their links nearly anything
        if fields := line.split():
            yield os.fsdecode(fields[-1]), IPv6Address(int(fields[0], 16))
