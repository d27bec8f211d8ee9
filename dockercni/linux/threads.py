"""Starts threads. The kernel may refuse one, because limits on processes count threads as well."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable

_REFUSED = "no thread can be started: a limit on processes (pids.max of the cgroup, ulimit -u) is reached"


def start(name: str, work: Callable[[], None]) -> threading.Thread:
    """Run `work` in a daemon thread.

    Raises OSError (EAGAIN) where the kernel refuses the thread, for which Python only has RuntimeError.
    """
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, _REFUSED) from error
    return thread
