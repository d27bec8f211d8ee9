"""May a file or directory be obeyed? Only if nobody else can change it: what sshd asks of keys (StrictModes).

"Nobody else" is: whoever is not root, nor the user that we are. A group other than root's counts as others.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_BELIEVED = 1.0  # seconds
_MOST = 1024  # paths
_fine: dict[str, float] = {}  # when it was seen that nobody else can change what is there


def flaw(status: os.stat_result, path: str | os.PathLike[str], *, parent: bool = False) -> str:
    """Who else can change what is at `path`, and what mends it; empty if nobody can.

    In a `parent` with the sticky bit nobody can replace what is somebody else's.
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
    """As `flaw`, for what is at `path`, and all directories that lead there, links followed. Missing is no flaw."""
    path = os.path.abspath(path)
    try:
        real = os.path.realpath(path)
    except (OSError, ValueError):  # a NUL in its name
        return ""
    for place in dict.fromkeys((real, *_above(real), path, *_above(path))):
        try:
            found = flaw(os.lstat(place), place, parent=place not in {real, path})
        except (OSError, ValueError):  # whoever opens it will see the same
            continue
        if found:
            return found
    return ""


def flaw_of_program(path: str | os.PathLike[str]) -> str:
    """As `flaw_of`, for a program in a directory of programs, or for that directory.

    The archives that plugins are released in give all of it to whoever packed them, unless tar is told not to.
    """
    found = flaw_of(path)
    about, chown, place = found.partition(": chown root ")
    directory = path if os.path.isdir(path) else os.path.dirname(os.path.abspath(path))
    if not chown or os.path.realpath(place) not in {os.path.realpath(path), os.path.realpath(directory)}:
        return found
    return f"{about}, as tar unpacks it without --no-same-owner: chown -R root {os.fspath(directory)}"


def refuse(path: str | os.PathLike[str], look: Callable[[str], str] = flaw_of) -> None:
    """Raise PermissionError, with all that has to be said, if others can change what is at `path`.

    `look` says so. That they cannot is believed for a second: one look at a container asks several times.
    """
    now, name = time.monotonic(), os.fspath(path)
    if now - _fine.get(name, float("-inf")) < _BELIEVED:
        return
    _fine.pop(name, None)
    if found := look(name):
        raise PermissionError(errno.EPERM, found, name)
    if len(_fine) >= _MOST:
        _fine.clear()
    _fine[name] = now


def _above(path: str) -> list[str]:
    found = []
    while (parent := os.path.dirname(path)) != path:
        found.append(parent)
        path = parent
    return found
