"""ptrace(2), as far as the hold needs it, and a timer that kills. Keep the imports light: the hold's helper has it.

Every call here must come from the thread that seized: for the kernel a tracer is a thread, not a process.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

EVENT_CLONE: Final = 3
EVENT_EXEC: Final = 4
EVENT_STOP: Final = 128

_CONT: Final = 7
_DETACH: Final = 17
_GETEVENTMSG: Final = 0x4201
_SEIZE: Final = 0x4206
_INTERRUPT: Final = 0x4207
_LISTEN: Final = 0x4208
# Without PTRACE_O_EXITKILL, so that the container lives on whatever happens to the tracer.
_OPTIONS: Final = 1 << EVENT_EXEC | 1 << EVENT_CLONE
_WALL: Final = 0x40000000
_CLOCK_MONOTONIC: Final = 1
_SIGKILL: Final = 9

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


def seize(tid: int) -> None:
    """Trace one thread without stopping it. It stops at its execve, and threads that it creates are traced as well."""
    _ptrace(_SEIZE, tid, _OPTIONS)


def resume(tid: int, number: int = 0) -> None:
    """Let a stopped thread run on, with the signal that it stopped for."""
    _ptrace(_CONT, tid, number)


def listen(tid: int) -> None:
    """Leave a thread stopped that a stop signal stopped, as if it were not traced (group-stop)."""
    _ptrace(_LISTEN, tid)


def interrupt(tid: int) -> None:
    """Make a running thread stop (EVENT_STOP)."""
    _ptrace(_INTERRUPT, tid)


def detach(tid: int, number: int = 0) -> None:
    """Stop tracing a stopped thread, which runs on with the signal that it stopped for."""
    _ptrace(_DETACH, tid, number)


def message(tid: int) -> int:
    """The event message of a stopped thread: for EVENT_CLONE the new thread's id."""
    value = ctypes.c_ulong()
    _ptrace(_GETEVENTMSG, tid, ctypes.addressof(value))
    return value.value


def next_stop() -> tuple[int, int] | None:
    """The next thread that stopped or ended, and its status as waitpid has it; None if there is none now."""
    try:
        tid, status = os.waitpid(-1, os.WNOHANG | _WALL)
    except ChildProcessError:
        return None
    return (tid, status) if tid else None


class Watchdog:
    """A kernel timer that kills this process unless it is fed, even where the process hangs or is stopped."""

    def __init__(self) -> None:
        event = _SigEvent(sigev_signo=_SIGKILL, sigev_notify=0)
        self._timer = ctypes.c_void_p()
        self._calls = _libc if hasattr(_libc, "timer_create") else ctypes.CDLL("librt.so.1", use_errno=True)
        _check(self._calls.timer_create(_CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._timer)))

    def feed(self, seconds: float) -> None:
        """Put the kill off to that many seconds from now; 0 switches the timer off."""
        value = _TimerSpec(value=_TimeSpec(int(seconds), int(seconds % 1 * 1e9)))
        _check(self._calls.timer_settime(self._timer, 0, ctypes.byref(value), None))


class _SigEvent(ctypes.Structure):
    _fields_ = (
        ("sigev_value", ctypes.c_void_p),
        ("sigev_signo", ctypes.c_int),
        ("sigev_notify", ctypes.c_int),
        ("rest", ctypes.c_char * 48),
    )


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


def _ptrace(request: int, tid: int, data: int = 0) -> None:
    _check(_libc.ptrace(request, tid, None, data))


def _check(outcome: int) -> None:
    if outcome == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
