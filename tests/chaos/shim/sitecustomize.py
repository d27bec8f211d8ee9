"""Put first on PYTHONPATH, this ends the process by SIGKILL before its n-th step that changes anything outside of it.

The steps are what CPython's audit hooks tell (files created, renamed and removed, locks, programs, netlink of other
libraries), and what they do not tell: mounts, our own netlink, rulesets. CRASH_LOG names the file that each step is
written to, CRASH_AT the number of the step before which to die; without it all are only told.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
from types import ModuleType
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_EVENTS = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "fcntl.flock", "subprocess.Popen"}
_NETLINK = {"socket.sendto", "socket.sendmsg"}
_UNSEEN = ("/proc/", "/sys/", "/dev/")
_SEND = "Netlink._send"
_UNHEARD = {
    "dockercni.linux.netns": ("_mount", "unpin"),
    "dockercni.linux.netlink": (_SEND,),  # by socket.send, which has no audit event
    "dockercni.linux.nft": ("apply",),
}
_CHANGES = {0x10, 0x11, 0x14, 0x15, 0x18, 0x19, 0x102}  # links (and transactions), addresses, routes, connections


class Steps:
    """Counts the steps of this process."""

    def __init__(self, log: str, last: int) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._last = last
        self._number = 0
        self._guard = threading.RLock()

    def step(self, what: str) -> None:
        """Tell a step, or die instead of it."""
        with self._guard:
            self._number += 1
            os.write(self._log, f"{self._number} {what}\n".encode())
            if self._number == self._last:
                os.kill(os.getpid(), signal.SIGKILL)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The audit hook."""
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes) and flags & _WRITING and not os.fsdecode(path).startswith(_UNSEEN):
                self.step(f"open {os.fsdecode(path)}")
        elif event == "os.mkdir" and os.path.isdir(arguments[0]):
            return  # it will only find that out
        elif event in _EVENTS:
            self.step(f"{event} {arguments[0]!r}")
        elif event in _NETLINK and getattr(arguments[0], "family", None) == 16:
            self.step(event)


class Finder:
    """Waits for the modules that do what no audit hook tells, and puts steps before it."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._waiting = dict(_UNHEARD)

    def find_spec(self, name: str, path: object, target: object = None) -> object:
        """Let the others find the module, and change it when it is there."""
        functions = self._waiting.pop(name, ())
        if not functions:
            return None
        spec = importlib.util.find_spec(name)
        assert spec
        assert spec.loader
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            for function in functions:
                place, _, last = function.rpartition(".")
                owner = getattr(module, place) if place else module
                setattr(owner, last, self._told(function, getattr(owner, last)))

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

    def _told(self, name: str, function: Any) -> Any:
        def told(*arguments: Any) -> Any:
            if name != _SEND or any(message.kind in _CHANGES for message in arguments[1]):
                self._steps.step(name)
            return function(*arguments)

        return told


if log := os.environ.pop("CRASH_LOG", ""):
    counting = Steps(log, int(os.environ.pop("CRASH_AT", "0")))
    sys.meta_path.insert(0, Finder(counting))  # type: ignore[arg-type]
    sys.addaudithook(counting.hear)
