"""Which process does the engine's runtime make for a container? What a container itself cannot put on is the proof.

A cgroup's name proves nothing: a container that can write to /sys/fs/cgroup makes any directory, and moves its own
processes there. But each process of a container that is being started descends from the runtime (`runc create`, later
the shim), which has the container's id among its arguments and lives in the engine's mount namespace. What a container
makes lives in the container's mount namespace, up to the shim of that very container.
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

_GENERATIONS: Final = 8  # from a stage of the runtime to the runtime; there are one or two
_MOST: Final = 4 << 20  # bytes of a bundle's configuration
_CREDENTIALS: Final = struct.Struct("iII")
_ASK_AGAIN: Final = 0.1  # seconds from one look at the engine's socket to the next


class _Linux(msgspec.Struct):
    cgroupsPath: str = ""  # noqa: N815  the specification's name


class _Bundle(msgspec.Struct):
    linux: _Linux = msgspec.field(default_factory=_Linux)


# msgspec learns a type at its first use, and crashes if two threads make it do so at once: so it learns it here
_bundle = msgspec.json.Decoder(_Bundle)


class Proof:
    """Tells processes that the engine's runtime makes from all others. `engine` is the path of its socket."""

    def __init__(self, engine: str = "") -> None:
        self._engine = engine
        self._namespace = -1, -1
        self._asked = 0.0

    def serve(self, engine: str) -> None:
        """From now on it is the engine at that socket."""
        if engine != self._engine:
            self._engine, self._namespace, self._asked = engine, (-1, -1), 0.0

    def made(self, pid: int, container_id: str, cgroup: str) -> bool:
        """Whether process `pid`, found in `cgroup`, is made by the runtime for that container, and for that place."""
        try:
            for ancestor in _line(pid):
                if self._is_hosts(runc_stages.mount_namespace(ancestor)):
                    return container_id in runc_stages.arguments(ancestor) and _is_asked_for(ancestor, cgroup)
        except OSError:  # one of them has ended: the next round sees the next generation
            pass
        return False

    def _is_hosts(self, namespace: tuple[int, int]) -> bool:
        """Whether a mount namespace is the host's: ours, that of process 1, or that of whoever listens for the engine.

        The last one is needed in a sidecar, and for an engine in a namespace of its own (a snap, say).
        """
        if namespace in {runc_stages.mount_namespace(os.getpid()), _first()}:
            return True
        # Asked again also where it matches: an engine that was started anew is in another one, and the kernel gives a
        # container the inode of the one that is gone.
        if time.monotonic() - self._asked >= _ASK_AGAIN:
            self._asked = time.monotonic()
            if owner := _listener(self._engine):
                self._namespace = runc_stages.mount_namespace(owner)
        return namespace == self._namespace


def _line(pid: int) -> Iterator[int]:
    """A process, its parent, and so on."""
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
    """The process that listens on a unix socket, 0 if there is none to be seen; without waiting for its answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as asking:
        try:
            asking.connect(path)
            pid, _, _ = _CREDENTIALS.unpack(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        except OSError:  # the engine is yet to come, or has too much to do
            return 0
    return int(pid)


def _is_asked_for(runtime: int, cgroup: str) -> bool:
    """Whether the engine asked the runtime for that cgroup, which the bundle says; its working directory is the bundle.

    The engine's default parent is told nowhere else. Only the path's end is compared: what it begins with depends on
    who looks.
    """
    try:
        path = _bundle.decode(read_regular(f"/proc/{runtime}/cwd/config.json", _MOST)).linux.cgroupsPath
    except (FileNotFoundError, msgspec.DecodeError):  # no bundle: another runtime, whose process it is all the same
        return True
    return not path or cgroup.endswith(expected(path))


def expected(path: str) -> str:
    """How a cgroup's directory ends, by a bundle's cgroupsPath: a path, or `slice:prefix:name` for systemd."""
    if match := re.fullmatch(r"([^:/]*):([^:/]*):([^:/]*)", path):
        parent = match[1] or "system.slice"
        return f"{'' if parent == '-.slice' else f'/{parent}'}/{match[2]}-{match[3]}.scope"
    return os.path.normpath("/" + path.lstrip("/"))
