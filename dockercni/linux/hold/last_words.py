"""Writes a line to the standard error of a process that stands at its execve and is about to be killed.

Its descriptor 2 is still what the runtime gave it: a pipe to the engine, which shows it in `docker logs` and to
`docker run`, or the container's terminal. We open it again, so that O_NONBLOCK holds for our descriptor only, and open
nothing but a pipe or a terminal. Keep the imports light: the hold's helper has this module.
"""

from __future__ import annotations

import contextlib
import os
import stat

from dockercni.linux import runc_stages

_MAX_BYTES = 4000  # below PIPE_BUF: a pipe takes all of it at once, or nothing
_TERMINALS = range(136, 144)  # major device numbers of pseudo-terminals


def write(pid: int, pidfd: int, words: str) -> bool:
    """Write a line there if that is possible without waiting; whether it was."""
    with contextlib.suppress(OSError):
        found = os.open(f"/proc/{pid}/fd/2", os.O_PATH | os.O_CLOEXEC)
        try:
            if not (runc_stages.alive(pidfd) and _takes_words(os.fstat(found))):
                return False
            stderr = os.open(f"/proc/self/fd/{found}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        finally:
            os.close(found)
        try:
            return os.write(stderr, words.encode("utf-8", "backslashreplace")[:_MAX_BYTES] + b"\n") > 0
        finally:
            os.close(stderr)
    return False


def _takes_words(status: os.stat_result) -> bool:
    if stat.S_ISCHR(status.st_mode):
        return os.major(status.st_rdev) in _TERMINALS
    return stat.S_ISFIFO(status.st_mode)
