"""Removal of a link, for a caller who wants to know it gone and not to wait for its memory to be freed.

After RTM_DELLINK the kernel keeps the caller for 12 to 25 ms, until nobody can look at the link any more (RCU). But
the link has left its namespace, and a veth's other end its own, after 1 to 5 ms, and nothing can bring them back.
"""

from __future__ import annotations

import errno

from dockercni.linux import links, threads
from dockercni.linux.netlink import Netlink, NetlinkError
from dockercni.linux.netns import Namespace


def remove(namespace: Namespace, socket: Netlink, index: int) -> None:
    """Remove the link with that index from `namespace`, to which `socket` belongs. Already gone is success.

    Raises NetlinkError.
    """
    failure: list[NetlinkError] = []
    second = namespace.run(Netlink)

    def work() -> None:
        with second:
            try:
                second.do(links.delete(index))
            except NetlinkError as error:
                failure.append(error)

    try:
        threads.start("link-removal", work)
    except OSError:  # there can be no thread now; slowly, then
        work()
    while True:
        if failure and failure[0].errno != errno.ENODEV:
            raise failure[0]
        try:
            socket.do(links.set_flags(index))  # changes nothing, but has to wait for who is changing links
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return
            raise
