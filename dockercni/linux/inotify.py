"""Instances of inotify, and words for the limits that may be in the way of one."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

INSTANCES: Final = "fs.inotify.max_user_instances"
WATCHES: Final = "fs.inotify.max_user_watches"
_AT_THE_LIMIT: Final = {INSTANCES: errno.EMFILE, WATCHES: errno.ENOSPC}

libc = ctypes.CDLL(None, use_errno=True)


def instance(path: str) -> int:
    """The descriptor of a new instance, which is for `path`. Raises OSError."""
    fd = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if fd < 0:
        raise error(path, INSTANCES)
    return fd


def error(path: str, sysctl: str) -> OSError:
    """The last call's error; where a limit of inotify is behind it, it names the sysctl that raises it."""
    code = ctypes.get_errno()
    words = os.strerror(code)
    if code == _AT_THE_LIMIT.get(sysctl) and (code != errno.EMFILE or _descriptors_left()):
        words = f"inotify is at its limit: raise {sysctl} (sysctl -w {sysctl}=...)"
    return OSError(code, words, path)


def _descriptors_left() -> bool:
    """Whether this process may open another file: else that is why there is no instance."""
    try:
        os.close(os.open("/", os.O_PATH | os.O_CLOEXEC))
    except OSError:
        return False
    return True
