"""Threads, where the kernel may refuse another one: a limit on processes counts threads, too."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable

_REFUSED = "no thread can be started: a limit on processes (pids.max of the cgroup, ulimit -u) is reached"


def start(name: str, work: Callable[[], None]) -> threading.Thread:
    """Run `work` in a thread of its own, which does not keep the process alive.

    Raises OSError (EAGAIN) when the kernel refuses it, as a refused fork does: Python has no error of its own for that.
    """
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, _REFUSED) from error
    return thread
