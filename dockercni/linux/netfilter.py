"""The one netfilter socket of this process.

It is never closed: the kernel would first wait until what anybody deleted is freed, which takes 15 ms.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dockercni.linux import netlink
from dockercni.linux.netlink import Netlink

_lock = threading.Lock()
_opened: list[Netlink] = []


@contextmanager
def netfilter() -> Iterator[Netlink]:
    """The socket, for one at a time; it belongs to the namespace of the thread that used it first. Raises OSError."""
    with _lock:
        if not _opened:
            _opened.append(Netlink(netlink.NETFILTER))
        yield _opened[0]
