"""resolv.conf and hosts of a container: the engine's files, which are bind-mounted into it.

They are rewritten in place, because a bind mount shows the inode and not the name. The engine writes both anew at each
start. The container can change their content, so that is not trusted; the directory is the engine's.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

HOSTS: Final = "hosts"
RESOLV_CONF: Final = "resolv.conf"
_MARK: Final = "# dockercni"
_MAX_BYTES: Final = 1 << 20  # of one file
_OPEN: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def rewrite(directory: Path, name: str, change: Callable[[str], str]) -> bool:
    """Replace a file's text by what `change` makes of it, in place; whether it was another one.

    Raises OSError: also for a symbolic link, and for anything that is not a regular file with one name.
    """
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | _OPEN)
    try:
        fd = os.open(name, os.O_RDWR | _OPEN, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise OSError(errno.EINVAL, "not a regular file with one name", str(directory / name))
        if status.st_size > _MAX_BYTES:
            raise OSError(errno.EFBIG, f"larger than {_MAX_BYTES} bytes", str(directory / name))
        before = os.pread(fd, _MAX_BYTES, 0)
        after = change(before.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        if after == before:
            return False
        os.pwrite(fd, after, 0)
        os.ftruncate(fd, len(after))
        return True
    finally:
        os.close(fd)


def with_own_lines(hosts: str, addresses: Iterable[str], names: Sequence[str]) -> str:
    """The text of hosts with a line for each address of the container, in place of those that we wrote before."""
    kept = [line for line in hosts.splitlines() if not line.endswith(_MARK)]
    return "\n".join([*kept, *(f"{address}\t{' '.join(names)}\t{_MARK}" for address in addresses), ""])


def with_resolver(resolv_conf: str, address: str, search: Sequence[str], options: Sequence[str]) -> str:
    """The text of resolv.conf with the resolver as only server; empty `search` and `options` leave what is there.

    Without an `ndots` option names without a dot are asked as they are first, as on Docker's own networks.
    """
    lines = [line.split() for line in resolv_conf.splitlines()]
    found = {word: [line[1:] for line in lines if line and line[0] == word] for word in ("search", "domain", "options")}
    search = search or next((words for words in reversed(found["search"] + found["domain"]) if words), [])
    options = list(options or [word for words in found["options"] for word in words])
    if not any(option.startswith("ndots:") for option in options):
        options.append("ndots:0")
    written = ["# Written by dockercni; the resolver forwards what it does not know.", f"nameserver {address}"]
    if search and list(search) != ["."]:
        written.append(f"search {' '.join(search)}")
    return "\n".join([*written, f"options {' '.join(options)}", ""])
