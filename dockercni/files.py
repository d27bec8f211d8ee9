"""Reads and writes small files that others may have tampered with, or may be reading."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from dockercni.cni import trust


def read_regular(path: str | Path, limit: int = -1, *, follow: bool = False) -> bytes:
    """The bytes of a regular file. Raises OSError, also for anything else, or more than `limit` bytes.

    A symbolic link is an error as well, unless `follow` is set.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:  # checked before os.fdopen, which fails for a directory and leaves the descriptor open
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


def file_below(directory: Path, name: str) -> Path:
    """The path of the file `name` in `directory`. Raises ValueError for a name that leads elsewhere."""
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise ValueError(f"{name!a} is not the name of a file")
    return directory / name


def private_directory(path: Path, *, shared: bool = False) -> None:
    """Make `path` a directory that only we can write to, mode 0700; create it if it is missing.

    An existing one gets that mode, unless it is `shared` with other programs. Raises OSError, also for a symbolic link,
    for a directory of another user, and where others can change a directory above it.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        for place in (*reversed(path.parents), path):
            with contextlib.suppress(FileExistsError):
                os.mkdir(place, 0o700)
        status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        problem = "it is a symbolic link" if stat.S_ISLNK(status.st_mode) else "it is not a directory"
        raise NotADirectoryError(errno.ENOTDIR, problem, str(path))
    if status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, f"it belongs to user {status.st_uid}", str(path))
    trust.refuse(path if shared else path.parent)
    if not shared and status.st_mode & 0o077:
        os.chmod(path, 0o700)


def replace_file(path: Path, data: bytes, *, scratch: Path, prefix: str) -> None:
    """Write `path`, mode 0600, whole or not at all. Raises OSError.

    The temporary file stands in `scratch`, on the same file system; its name begins with `prefix`.
    """
    import tempfile  # noqa: PLC0415  health checks, which only read, must start quickly

    fd, temporary = tempfile.mkstemp(prefix=prefix, dir=scratch)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
