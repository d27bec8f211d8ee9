"""Holds starting containers at their execve, through the helper process (see helper)."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final, Protocol

import dockercni
from dockercni import supervision
from dockercni.linux.hold import helper, last_words

_PACKAGES: Final = str(Path(dockercni.__file__).parents[1])
_PROGRAM: Final = (
    "import sys; sys.path.append(sys.argv[1]); from dockercni.linux.hold.helper import main; main(int(sys.argv[2]))"
)
_GRACE: Final = 5.0  # seconds for a killed helper to end
_SILENT: Final = 3 * helper.ALIVE  # seconds without a message after which a helper counts as hanging
_SETTLED: Final = 0.5  # seconds: a helper that ends sooner without having held anything would only end again


@dataclass(frozen=True, slots=True)
class Limit:
    """How long a process may stand at its execve, and whether it is then killed or released."""

    seconds: float
    kill: bool = False


class Held(Protocol):
    """The hold of one starting container, as the one who decides about it sees it; see Hold."""

    stopped: bool
    over: str
    held: float

    def go(self) -> None:
        """Release it."""

    def kill(self, words: str) -> None:
        """Kill it; `words` become the last line of its stderr."""


class Hold:
    """The hold of one starting container. Made by Holder.hold; `changed` is called when a field has changed.

    `stopped` is true once the process stands at its execve, and stays true afterwards. `over` says why it does not
    stand there any more, or never will; "" until then. `held` is how long it stood there (seconds).
    """

    def __init__(self, holder: Holder, name: str, limit: Limit, changed: Callable[[], None]) -> None:
        self.stopped = False
        self.over = ""
        self.held = 0.0
        self.seized: set[int] = set()
        self._holder = holder
        self._name = name
        self._limit = limit
        self._changed = changed
        self._pidfds: dict[int, int] = {}
        self._standing = 0
        self._finished = False
        self._guard = threading.Lock()

    def seize(self, pid: int, namespace: tuple[int, int], cgroup: Path) -> None:
        """Have process `pid` stop at its execve, if it still lives in that namespace and cgroup then."""
        if self.over:
            return
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:  # it has ended
            return
        self.seized.add(pid)
        with self._guard:
            self._pidfds[pid] = pidfd
        limit = f"{self._limit.seconds:g} {'kill' if self._limit.kill else 'go'}"
        words = f"seize {self._name} {pid} {limit} {namespace[0]} {namespace[1]} {cgroup}"
        if not self._holder.say(words, pidfd):
            self.end("the helper cannot be reached")

    def go(self) -> None:
        """Release it."""
        self._holder.say(f"go {self._name}")

    def kill(self, words: str) -> None:
        """Kill it before its first instruction; `words` become the last line of its stderr."""
        with self._guard:
            if pidfd := self._pidfds.get(self._standing):
                last_words.write(self._standing, pidfd, words)
            for pidfd in self._pidfds.values():
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    def end(self, why: str) -> None:
        """Close the hold: nothing is held any more, for the reason `why`."""
        with self._guard:
            for pidfd in self._pidfds.values():
                os.close(pidfd)
            self._pidfds.clear()
        self._holder.forget(self._name)
        if not self.over:
            self.over = why
            self._changed()

    def finish(self) -> None:
        """No other process will come: the hold is over when all that were seized have ended."""
        with self._guard:
            self._finished = True
            idle = not self._pidfds
        if idle:
            self.end("ended")

    def report(self, what: str, pid: int, rest: str) -> None:
        """Take note of a message of the helper about this hold."""
        if what == "stopped":
            self._standing = pid
            self.stopped = True
            self._changed()
        elif what == "left":
            microseconds, _, why = rest.partition(" ")
            with self._guard:
                if (pidfd := self._pidfds.pop(pid, None)) is not None:
                    os.close(pidfd)
                last = not self._pidfds
            if int(microseconds) >= 0:
                self.held = int(microseconds) / 1e6
            if int(microseconds) >= 0 or (last and (self._finished or why != "ended")):
                self.end(why)


class Holder:
    """Runs the helper, starts another one when it ends, and passes its messages to the holds. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._numbers = count(1)
        self._holds: dict[str, Hold] = {}
        self._link: socket.socket | None = None
        self._closed = False
        self.pid = 0

    def start(self) -> None:
        """Have a helper running. Raises OSError."""
        with self._guard:
            if self._link is not None or self._closed:
                return
            link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                helper = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _PROGRAM, _PACKAGES, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            try:
                supervision.start("hold", partial(self._serve, link, helper, time.monotonic()))
            except OSError:  # nobody would read its messages
                link.close()
                helper.kill()
                helper.wait()
                raise
            self._link = link
            self.pid = helper.pid

    def hold(self, limit: Limit, changed: Callable[[], None]) -> Hold:
        """A new hold, for a container that is starting. Raises OSError."""
        self.start()
        name = str(next(self._numbers))
        hold = self._holds[name] = Hold(self, name, limit, changed)
        return hold

    def forget(self, name: str) -> None:
        """Ignore what the helper reports of that hold from now on."""
        self._holds.pop(name, None)

    def close(self) -> None:
        """Release everything and end the helper."""
        with self._guard:
            self._closed = True
            if self._link:
                self._link.shutdown(socket.SHUT_RDWR)

    def say(self, words: str, *fds: int) -> bool:
        """Send words to the helper; whether they were sent."""
        with self._guard:
            if self._link is None:
                return False
            try:
                socket.send_fds(self._link, [words.encode()], fds, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except OSError:
                return False
            return True

    def _serve(self, link: socket.socket, helper: subprocess.Popen[bytes], began: float) -> None:
        """Read one helper's messages until it ends, then start its successor.

        An exception in here ends the helper as well: the message that was being read is lost, and a hold that missed
        its own end would stay for ever. The supervisor then calls this again, for what is left to do.
        """
        able = False
        if link.fileno() >= 0:
            try:
                able = self._listen(link)
            finally:
                helper.kill()
                self._ended(link, helper)
        if able or time.monotonic() - began > _SETTLED:
            with contextlib.suppress(OSError):  # the next hold tries again
                self.start()  # not only then: the next container would reach its entrypoint before the helper is up

    def _listen(self, link: socket.socket) -> bool:
        """Read its messages until it ends or hangs; whether it held a process meanwhile."""
        able = False
        silence = helper.HANGING / 2  # it may take long to start
        with contextlib.suppress(OSError):  # it hangs (TimeoutError), or it ended with words of ours unread
            while data := _next(link, silence):
                silence = _SILENT
                what, name, pid, *rest = data.decode().split(" ", 3)
                able = able or what == "stopped"
                if hold := self._holds.get(name):
                    hold.report(what, int(pid), rest[0] if rest else "")
        return able

    def _ended(self, link: socket.socket, helper: subprocess.Popen[bytes]) -> None:
        with self._guard:
            if self._link is link:
                self._link = None
                self.pid = 0
            orphans = list(self._holds.values()) if self._link is None else []
        try:
            helper.wait(_GRACE)
        except subprocess.TimeoutExpired:
            helper.kill()
            helper.wait()
        for hold in orphans:
            hold.end("the helper ended")
            hold.go()  # the next helper may have seized another process of it meanwhile
        link.close()


def _next(link: socket.socket, silence: float) -> bytes:
    """The helper's next message; empty at its end. Raises TimeoutError when it hangs, OSError."""
    poll = select.poll()
    poll.register(link, select.POLLIN)
    for _ in range(2):  # a single silence may mean that the whole machine stood still
        if poll.poll(silence * 1000):
            return link.recv(4096)
    raise TimeoutError
