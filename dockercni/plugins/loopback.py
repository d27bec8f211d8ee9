"""loopback: brings up `lo` in the container, whatever CNI_IFNAME says.

Reference: plugins/main/loopback. Deviation: the result has the shape of its version, also below 1.0.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dockercni.cni import versions
from dockercni.cni.result import Interface, IPConfig, Result
from dockercni.linux import addr, links
from dockercni.linux.netns import Namespace, NamespaceGone
from dockercni.plugins import keys
from dockercni.plugins.contract import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockercni.linux.links import Link
    from dockercni.linux.netlink import Netlink
    from dockercni.plugins.contract import Request

_NAME = "lo"
_MAC = "00:00:00:00:00:00"


def unsupported(conf: Mapping[str, Any]) -> str:
    """See Plugin."""
    return keys.unknown(conf, ())


def validate(request: Request) -> None:
    """See Plugin. There is nothing to configure."""


def add(request: Request) -> Result:
    """`lo` with its first address of each family; or prevResult untouched, if there is one.

    Raises PluginFailure where `lo` has an address that is not a loopback address.
    """
    previous = request.previous
    with Namespace.open(request.netns) as namespace, namespace.handle() as within:
        link = _find(within.netlink)
        within.netlink.do(links.set_flags(link.index, on=links.UP))
        found = [each.address for each in addr.addresses(within.netlink, link.index)]
    for address in found:
        if not address.ip.is_loopback:
            raise PluginFailure(f'loopback interface found with non-loopback address "{address.ip}"')
    if previous is not None:
        return previous
    first = [next((each for each in found if each.version == version), None) for version in (4, 6)]
    ips = tuple(IPConfig(each, interface=0) for each in first if each is not None)
    return Result(versions.CURRENT, (Interface(_NAME, mac=_MAC, sandbox=request.netns),), ips)


def check(request: Request) -> None:
    """Whether `lo` is up. Raises PluginFailure."""
    with Namespace.open(request.netns) as namespace, namespace.handle() as within:
        if not _find(within.netlink).up:
            raise PluginFailure("loopback interface is down")


def delete(request: Request) -> None:
    """Take `lo` down; a namespace that is gone is success."""
    if not request.netns:
        return
    try:
        with Namespace.open(request.netns) as namespace, namespace.handle() as within:
            within.netlink.do(links.set_flags(_find(within.netlink).index, off=links.UP))
    except NamespaceGone:
        return


def status(request: Request) -> None:
    """An ADD can always be served."""


def gc(request: Request) -> None:
    """Nothing is kept outside of the namespace."""


def _find(socket: Netlink) -> Link:
    link = links.find(socket, _NAME)
    if link is None:  # the kernel makes one in every namespace
        raise PluginFailure("Link not found")
    return link
