"""Did the engine's runtime make this process for this container? Proved by what a container cannot imitate.

A cgroup's name proves nothing: a container that can write to /sys/fs/cgroup makes any directory, and moves its own
processes there. But each process of a container that is being started descends from the runtime (`runc create`, later
the shim), which has the container's id among its arguments and lives in the engine's mount namespace. A container's own
processes live in the container's mount namespace, and their first ancestor outside of it is the shim of that container.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from typing import Final

import msgspec

from dockercni.files import read_regular
from dockercni.linux import runc_stages

_GENERATIONS: Final = 8  # ancestors, at most, up to the runtime; there are one or two
_MAX_BUNDLE: Final = 4 << 20  # bytes of a bundle's configuration
_CREDENTIALS: Final = struct.Struct("iII")
_ASK_AGAIN: Final = 0.1  # seconds between two looks at the engine's socket


class _Linux(msgspec.Struct):
    cgroupsPath: str = ""  # noqa: N815  the specification's name


class _Bundle(msgspec.Struct):
    linux: _Linux = msgspec.field(default_factory=_Linux)


# msgspec prepares a type at its first use, and crashes where two threads cause that at once: so it happens here
_bundle = msgspec.json.Decoder(_Bundle)


class Proof:
    """Recognises processes that the engine's runtime made. `engine` is the path of the engine's socket."""

    def __init__(self, engine: str = "") -> None:
        self._engine = engine
        self._namespace = -1, -1
        self._asked = 0.0

    def serve(self, engine: str) -> None:
        """Expect the runtime of the engine at that socket from now on."""
        if engine != self._engine:
            self._engine, self._namespace, self._asked = engine, (-1, -1), 0.0

    def made(self, pid: int, container_id: str, cgroup: str) -> bool:
        """Whether the runtime made process `pid`, found in `cgroup`, for that container and that cgroup."""
        try:
            for ancestor in _line(pid):
                if self._is_hosts(runc_stages.mount_namespace(ancestor)):
                    return container_id in runc_stages.arguments(ancestor) and _is_asked_for(ancestor, cgroup)
        except OSError:  # an ancestor has ended: the next round sees its successor
            pass
        return False

    def _is_hosts(self, namespace: tuple[int, int]) -> bool:
        """Whether a mount namespace is the host's: ours, that of process 1, or that of the engine's process.

        The last one is needed in a sidecar, and for an engine in a namespace of its own (a snap, for example).
        """
        if namespace in {runc_stages.mount_namespace(os.getpid()), _first()}:
            return True
        # Asked again even where the last answer matches: an engine that was restarted is in another namespace, and the
        # kernel may give a container the inode of the old one.
        if time.monotonic() - self._asked >= _ASK_AGAIN:
            self._asked = time.monotonic()
            if owner := _listener(self._engine):
                self._namespace = runc_stages.mount_namespace(owner)
        return namespace == self._namespace


def _line(pid: int) -> Iterator[int]:
    """A process and its ancestors."""
    for _ in range(_GENERATIONS):
        if pid <= 0:
            return
        yield pid
        pid = runc_stages.parent(pid)


def _first() -> tuple[int, int]:
    try:
        return runc_stages.mount_namespace(1)
    except OSError:
        return -1, -1


def _listener(path: str) -> int:
    """The process that listens on a Unix socket, 0 if none is seen. Asks the kernel, not the process: never waits."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as asking:
        try:
            asking.connect(path)
            pid, _, _ = _CREDENTIALS.unpack(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        except OSError:  # the engine is not up yet, or its queue is full
            return 0
    return int(pid)


def _is_asked_for(runtime: int, cgroup: str) -> bool:
    """Whether the bundle names that cgroup: the runtime's working directory is the bundle that the engine wrote.

    The engine's default parent stands nowhere else. Only the end of the path is compared, because its beginning depends
    on the cgroup namespace of the reader.
    """
    try:
        path = _bundle.decode(read_regular(f"/proc/{runtime}/cwd/config.json", _MAX_BUNDLE)).linux.cgroupsPath
    except (FileNotFoundError, msgspec.DecodeError):  # no bundle: another runtime, but its process all the same
        return True
    return not path or cgroup.endswith(expected(path))


def expected(path: str) -> str:
    """The end of a cgroup's directory by a bundle's cgroupsPath: a path, or `slice:prefix:name` for systemd."""
    if match := re.fullmatch(r"([^:/]*):([^:/]*):([^:/]*)", path):
        parent = match[1] or "system.slice"
        return f"{'' if parent == '-.slice' else f'/{parent}'}/{match[2]}-{match[3]}.scope"
    return os.path.normpath("/" + path.lstrip("/"))
