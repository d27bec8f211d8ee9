"""A word to the standard error of a process that stands at its execve, and is killed next.

There its descriptor 2 is still what the runtime gave it: a pipe to the engine, which shows it in `docker logs` and to
`docker run`, or the container's terminal. It is opened anew, so that writing without waiting is a matter of our own
descriptor, and nothing else but a pipe or a terminal is ever opened. Light: the hold's helper imports it.
"""

from __future__ import annotations

import contextlib
import os
import stat

from dockercni.linux import runc_stages

_MOST = 4000  # bytes: less than a pipe takes at once, or not at all
_TERMINALS = range(136, 144)  # major device numbers of pseudo-terminals


def write(pid: int, pidfd: int, words: str) -> bool:
    """Write a line there, if it can be done at once; whether it was."""
    with contextlib.suppress(OSError):
        found = os.open(f"/proc/{pid}/fd/2", os.O_PATH | os.O_CLOEXEC)
        try:
            if not (runc_stages.alive(pidfd) and _takes_words(os.fstat(found))):
                return False
            stderr = os.open(f"/proc/self/fd/{found}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        finally:
            os.close(found)
        try:
            return os.write(stderr, words.encode("utf-8", "backslashreplace")[:_MOST] + b"\n") > 0
        finally:
            os.close(stderr)
    return False


def _takes_words(status: os.stat_result) -> bool:
    if stat.S_ISCHR(status.st_mode):
        return os.major(status.st_rdev) in _TERMINALS
    return stat.S_ISFIFO(status.st_mode)
