"""What all network namespaces of the machine show together: which addresses somebody has."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dockercni.linux import capabilities
from dockercni.linux.netns import Namespace, NamespaceGone, NotANamespace
from dockercni.linux.netns_state import IPAddress, NetnsState

_MOUNTS: Final = Path("/proc/self/mountinfo")
_PINNED: Final = re.compile(rb"net:\[[0-9]+\]")
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")


def addresses() -> frozenset[IPAddress]:
    """Every address of every namespace that a process lives in, or that is pinned by a mount here.

    Raises OSError if one of them cannot be looked into: an address that is not among the others may then be in use.
    """
    found: set[IPAddress] = set()
    seen: set[tuple[int, int]] = set()
    for namespace in _namespaces():
        with namespace:
            if namespace.identity not in seen:
                seen.add(namespace.identity)
                found.update(address for _, address in NetnsState.read(namespace).addresses)
    return frozenset(found)


def _namespaces() -> Iterator[Namespace]:
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                yield Namespace.of_process(int(entry.name))
            except NamespaceGone:
                continue
            except PermissionError:
                # Without the capability that is what every foreign process says. With it there are a few that nobody
                # may look into (the first process of a sandbox), and such as have just ended.
                if "CAP_SYS_PTRACE" in capabilities.missing():
                    raise
    for line in _MOUNTS.read_bytes().splitlines():
        _, _, _, root, point, *_ = line.split()
        if _PINNED.fullmatch(root):
            try:
                yield Namespace.open(os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), point)))
            except (NamespaceGone, NotANamespace):  # unmounted meanwhile, or something is mounted over it
                continue
