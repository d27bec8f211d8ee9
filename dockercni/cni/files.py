"""Reading and writing of small files that others may have tampered with, or be reading."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path


def read_regular(path: Path, limit: int = -1) -> bytes:
    """The bytes of a regular file; a symbolic link, device or fifo, or more than `limit` bytes, are refused.

    Raises OSError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:  # not by os.fdopen at once: it refuses a directory, and leaves the descriptor open
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "not a regular file", str(path))
        data = b""
        if limit < 0 or status.st_size <= limit:
            with os.fdopen(fd, "rb", closefd=False) as file:
                data = file.read(limit + 1 if limit >= 0 else -1)  # it may have grown meanwhile
    finally:
        os.close(fd)
    if 0 <= limit < max(status.st_size, len(data)):
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", str(path))
    return data


def replace_file(path: Path, data: bytes, *, scratch: Path, prefix: str) -> None:
    """Write `path`, mode 0600, whole or not at all. Raises OSError.

    The temporary file stands in `scratch`, on the same file system; its name begins with `prefix`.
    """
    fd, temporary = tempfile.mkstemp(prefix=prefix, dir=scratch)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
