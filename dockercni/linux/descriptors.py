"""File descriptors: the limit on them, and low ones for code that cannot use others.

select(2) takes descriptors below 1024 and writes past its arrays for higher ones; where the C library notices, it ends
the process. libnftables and parts of other libraries use it, and the daemon has one descriptor for each published port.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import os
import resource
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from dockercni.linux import threads

T = TypeVar("T")

_SELECT: Final = 1024  # FD_SETSIZE
_FIRST: Final = 3
_CLOSE_RANGE: Final = 436  # the system call (Linux 5.9), the same number on all architectures that Python runs on
_CLOSE_RANGE_UNSHARE: Final = 2
_CLONE_FILES: Final = 0x400

_libc = ctypes.CDLL(None, use_errno=True)
_guard = threading.Lock()


def raise_limit() -> int:
    """Raise this process's limit on descriptors as far as it may; returns the new limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def move_up(fd: int) -> int:
    """Duplicate `fd` to a number above 1024, which keeps the low ones free, and close `fd`.

    Where the limit allows no number above 1024, to its upper half. Raises OSError (EMFILE: all are in use).
    """
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, min(_SELECT, allowed // 2))
    finally:
        os.close(fd)


def low(work: Callable[[], T]) -> T:
    """Run `work` where each descriptor that it opens is low, and return what it returns, or raise what it raises.

    It runs in a thread with its own table of descriptors, which has only our first three, and must close what it opens.
    Garbage collection is off meanwhile: a descriptor that it closed in that thread would stay open in this process.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []

    def inside() -> None:
        try:
            _leave_table()
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001  handed to the caller's thread, whatever it is
            failure.append(error)

    with _guard:  # one at a time, else the first to end would switch the collector on for the other
        collects = gc.isenabled()
        gc.disable()
        try:
            threads.start("low descriptors", inside).join()
        finally:
            if collects:
                gc.enable()
    if failure:
        raise failure[0]
    return outcome[0]


def _leave_table() -> None:
    last = ctypes.c_uint(0xFFFFFFFF)
    if _libc.syscall(_CLOSE_RANGE, ctypes.c_uint(_FIRST), last, ctypes.c_uint(_CLOSE_RANGE_UNSHARE)) == 0:
        return
    if ctypes.get_errno() not in {errno.ENOSYS, errno.EPERM, errno.EINVAL}:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if _libc.unshare(_CLONE_FILES) != 0:  # without a table of its own the thread must close nothing
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.closerange(_FIRST, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
