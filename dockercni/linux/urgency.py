"""Priority for the gate and the hold's helper, which compute next to nothing but must not run late.

Beside twenty computing programs on two processors, a process that wakes up waits 25 ms for a processor in one of ten
cases and 120 ms in one of a hundred, and an entrypoint may begin meanwhile. With this priority it is 3 ms and 15 ms.
Without it the helper came after the execve in one of sixty starts.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from typing import Final

_SCHED_SETATTR: Final = {
    "x86_64": 314,
    "aarch64": 274,
    "riscv64": 274,
}  # system calls; few C libraries have it
_ATTRIBUTES: Final = struct.Struct("IIQiIQQQ")  # size, policy, flags, niceness, priority, runtime, deadline, period
_FIRST: Final = -20
_SLICE: Final = 100_000  # nanoseconds, the shortest slice there is; kernels before 6.12 ignore it

_libc = ctypes.CDLL(None, use_errno=True)


def ask() -> None:
    """Give this process the highest normal priority, as far as it may. Real-time priority is the administrator's."""
    with contextlib.suppress(OSError):  # neither CAP_SYS_NICE nor RLIMIT_NICE
        os.setpriority(os.PRIO_PROCESS, 0, _FIRST)
    if number := _SCHED_SETATTR.get(os.uname().machine):
        niceness = os.getpriority(os.PRIO_PROCESS, 0)
        attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, niceness, 0, _SLICE, 0, 0)
        _libc.syscall(ctypes.c_long(number), 0, attributes, 0)
