"""What a container with CAP_NET_ADMIN can do in its own namespace, seen from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockercni.linux.netns import Namespace
from dockercni.linux.netns_state import NetnsState

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hosts import Host

# white space to Python and not to the kernel; not UTF-8; control characters; a quote
NAMES = (b"a\x1cb", b"\xff\xfe", b"x\x85y", b"\xe2\x80\xa8", b"\x1b[2J", b'q"#')
MAKE = """
import os
from pyroute2 import IPRoute
from dockercni.linux.links import End, new_veth
from dockercni.linux.netns import Namespace
from dockercni.linux.netlink import Netlink

def work():
    with Netlink() as links, IPRoute() as addresses:
        for number, word in enumerate({names!r}):
            links.do(new_veth(End(os.fsdecode(bytes.fromhex(word)), up=True), End(f"p{{number}}", up=True)))
        for link in addresses.get_links():
            index = link["index"]
            addresses.link("set", index=index, state="up")
            addresses.addr("add", index=index, address=f"10.8.{{index}}.1", prefixlen=24)
            addresses.addr("add", index=index, address=f"fd01:{{index}}::1", prefixlen=64)

with Namespace.open({path!r}) as namespace:
    namespace.run(work)
"""


def test_names_of_links(host: Host, netns: Callable[[str], str], inside: Callable[[str], str]) -> None:
    """Whatever a container calls its links, all of its addresses and routes are read."""
    path = netns("evil")
    inside(MAKE.format(names=[name.hex() for name in NAMES], path=path))
    with Namespace.open(host.path(path)) as namespace:
        found = NetnsState.read(namespace)
    assert len([address for _, address in found.addresses if str(address).startswith("10.8.")]) == len(found.links)
    assert len([address for _, address in found.addresses if str(address).startswith("fd01:")]) == len(found.links)
    assert {name for name, _ in found.addresses} == found.links.keys()
    assert len([to for to, _ in found.routes if str(to).startswith("10.8.")]) == len(found.links) - 1  # not lo's
