"""Whether a file can be trusted: only if no other user can change it, as sshd demands of keys (StrictModes).

Other users are all but root and the user of this process. A group other than root's counts as other users.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_VALID = 1.0  # seconds for which a check counts
_MAX_PATHS = 1024
_checked: dict[str, float] = {}  # when a path was found to be safe


def flaw(status: os.stat_result, path: str | os.PathLike[str], *, parent: bool = False) -> str:
    """Why other users can change what is at `path`, and the command that fixes it; "" if they cannot.

    In a `parent` with the sticky bit, users can replace only their own files.
    """
    shown = f"{os.fspath(path)} (mode {stat.S_IMODE(status.st_mode):04o}, owner {status.st_uid}:{status.st_gid})"
    if status.st_uid not in {0, os.geteuid()}:
        return f"{shown} belongs to another user: chown root {os.fspath(path)}"
    if stat.S_ISLNK(status.st_mode) or (parent and status.st_mode & stat.S_ISVTX):
        return ""
    if status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and status.st_gid != 0):
        return f"{shown} can be changed by other users: chmod go-w {os.fspath(path)}"
    return ""


def flaw_of(path: str | os.PathLike[str]) -> str:
    """As `flaw`, for `path` and every directory that leads there, links followed. What is missing has no flaw."""
    path = os.path.abspath(path)
    try:
        real = os.path.realpath(path)
    except (OSError, ValueError):  # a NUL in its name
        return ""
    for place in dict.fromkeys((real, *_above(real), path, *_above(path))):
        try:
            found = flaw(os.lstat(place), place, parent=place not in {real, path})
        except (OSError, ValueError):  # opening it will fail for the same reason
            continue
        if found:
            return found
    return ""


def flaw_of_program(path: str | os.PathLike[str]) -> str:
    """As `flaw_of`, for a program in a directory of programs, or for that directory.

    In the archives of the plugins' releases everything belongs to the user who packed them, and tar keeps that owner.
    """
    found = flaw_of(path)
    about, chown, place = found.partition(": chown root ")
    directory = path if os.path.isdir(path) else os.path.dirname(os.path.abspath(path))
    if not chown or os.path.realpath(place) not in {os.path.realpath(path), os.path.realpath(directory)}:
        return found
    return f"{about}, as tar unpacks it without --no-same-owner: chown -R root {os.fspath(directory)}"


def refuse(path: str | os.PathLike[str], look: Callable[[str], str] = flaw_of) -> None:
    """Raise PermissionError, with the reason and the fix, if other users can change what is at `path`.

    `look` checks that. A good answer counts for a second, because one reconciliation asks several times.
    """
    now, name = time.monotonic(), os.fspath(path)
    if now - _checked.get(name, float("-inf")) < _VALID:
        return
    _checked.pop(name, None)
    if found := look(name):
        raise PermissionError(errno.EPERM, found, name)
    if len(_checked) >= _MAX_PATHS:
        _checked.clear()
    _checked[name] = now


def _above(path: str) -> list[str]:
    found = []
    while (parent := os.path.dirname(path)) != path:
        found.append(parent)
        path = parent
    return found
