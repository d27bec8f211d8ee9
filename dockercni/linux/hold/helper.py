"""The hold's helper process: traces processes, stops each at its execve, and releases it.

It is a process of its own because a tracer that hangs makes `docker kill` hang. This one does nothing else, and a
kernel timer kills it if it does not come round its loop. Whatever ends it, the kernel then detaches every process that
it traced, and they run on. One thread does all the tracing, because for the kernel a tracer is a thread. It imports
next to nothing: it must be up before the next container reaches its entrypoint.

The holder and it exchange datagrams of words, a pidfd beside the first:

    seize HOLD PID SECONDS THEN DEVICE INODE CGROUP   go HOLD    from the holder; the link's end releases everything
    seized HOLD PID    stopped HOLD PID    left HOLD PID US WHY  to the holder; US is how long it stood still, or -1
    alive 0 0                                         to the holder, after a second without another message

SECONDS is how long it may stand still, THEN what happens after that: `go` or `kill`. A holder starts the helper that is
installed when it needs one, which may be newer than itself: these words and the name of this module must stay as they
are.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from typing import Final

from dockercni.linux import runc_stages, urgency
from dockercni.linux.hold import last_words, ptrace

HANGING: Final = 30.0  # seconds until the kernel kills a helper that hangs, in case the holder does not
ALIVE: Final = 1.0  # seconds between two signs of life
STARTING: Final = 60.0  # seconds, at least, that a seized process has for its execve; it runs meanwhile
_FEED: Final = 0.5  # seconds, at most, between two rounds of the loop while something is traced
_AT_ONCE: Final = 16  # stops that are handled before the next look at the link
_STANDSTILL: Final = 1.0  # seconds by which a sleep must be too long to count as a standstill of the machine
_LATE: Final = "dockercni: stopped because its network was not ready within {:g} s (on-failure is stop)"
_STOP_SIGNALS: Final = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}


class Traced:
    """One process: its traced threads, its limit, and how far it is. `leaving` says why it is being released."""

    def __init__(self, hold: str, pid: int, pidfd: int, seconds: float, then: str) -> None:
        self.hold = hold
        self.pid = pid
        self.pidfd = pidfd
        self.seconds = seconds
        self.deadline = time.monotonic() + max(STARTING, seconds)  # `seconds` is long where machines are slow
        self.then = then
        self.threads: set[int] = set()
        self.stopped_at = 0.0
        self.leaving = ""


class Helper:
    """All traced processes, and the loop that serves them."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._traced: dict[int, Traced] = {}
        self._owner: dict[int, Traced] = {}  # by thread
        self._early: dict[int, int] = {}  # stops of new threads whose EVENT_CLONE we have not read yet
        self._more = False  # there may be stops to read
        self._said = 0.0  # when the last message was sent
        self._watchdog = ptrace.Watchdog()
        self._wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def run(self) -> None:
        """Serve until the holder closes its end of the link."""
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        self._show_life()
        while True:
            self._watchdog.feed(HANGING if self._traced else 0)
            pause = self._pause()
            began = time.monotonic()
            ready = poll.poll(pause)
            self._watchdog.feed(HANGING)  # before anything is seized
            self._make_up_for(time.monotonic() - began - pause / 1000)
            for fd, _ in ready:
                if fd == self._wake:
                    os.read(self._wake, 4096)
                elif not self._receive():
                    return
            self._more = self._read_stops()
            self._keep_limits()
            self._show_life()

    def _read_stops(self) -> bool:
        """Handle some threads that stopped; whether there may be more. Not all, so that orders need not wait."""
        for _ in range(_AT_ONCE):
            if not (stop := ptrace.next_stop()):
                return False
            self._on_stop(*stop)
        return True

    def _make_up_for(self, standstill: float) -> None:
        """Extend all deadlines by a time in which this process did not run: then hardly any network got ready either.

        The machine was suspended or migrated, or had too much to do.
        """
        if standstill > _STANDSTILL:
            for traced in self._traced.values():
                traced.deadline += standstill

    def _keep_limits(self) -> None:
        now = time.monotonic()
        for traced in [one for one in self._traced.values() if one.deadline <= now]:
            if traced.leaving:
                self._ask_again(traced)
                continue
            if traced.then == "kill":
                if traced.stopped_at:
                    last_words.write(traced.pid, traced.pidfd, _LATE.format(traced.seconds))
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(traced.pidfd, signal.SIGKILL)
            self._release(traced, "limit")

    def _show_life(self) -> None:
        if time.monotonic() - self._said < ALIVE:
            return
        self._said = time.monotonic()
        with contextlib.suppress(BlockingIOError):  # the holder hangs, and will find older signs of life
            self._link.send(b"alive 0 0", socket.MSG_DONTWAIT)

    def _pause(self) -> float:
        """Milliseconds until a deadline, a sign of life or the watchdog needs this loop."""
        if self._more:
            return 0
        if not self._traced:
            return ALIVE * 1000
        nearest = min(traced.deadline for traced in self._traced.values())
        return max(0.0, min(_FEED, nearest - time.monotonic())) * 1000

    def _receive(self) -> bool:
        data, fds, _, _ = socket.recv_fds(self._link, 4096, 1)
        match data.decode().split(" ", 7):
            case ["seize", hold, pid, seconds, then, device, inode, cgroup]:
                traced = Traced(hold, int(pid), fds[0], float(seconds), then)
                self._seize(traced, (int(device), int(inode)), cgroup)
            case ["go", hold]:
                for traced in [one for one in self._traced.values() if one.hold == hold]:
                    self._release(traced, "go")
        return bool(data)

    def _seize(self, traced: Traced, namespace: tuple[int, int], cgroup: str) -> None:
        problem = "traced already" if traced.pid in self._traced else ""
        if not problem:
            self._traced[traced.pid] = traced
            try:
                self._seize_threads(traced)
                problem = _unlike(traced, namespace, cgroup)
            except OSError as error:
                problem = (error.strerror or str(error)) if runc_stages.alive(traced.pidfd) else "ended"
        if not problem:
            self._say(f"seized {traced.hold} {traced.pid}")
        elif traced.threads:
            self._release(traced, problem)
        else:
            self._traced.pop(traced.pid, None)
            self._left(traced, problem)

    def _seize_threads(self, traced: Traced) -> None:
        while new := {int(tid) for tid in os.listdir(f"/proc/{traced.pid}/task")} - traced.threads:
            for tid in new:
                try:
                    ptrace.seize(tid)
                except ProcessLookupError:
                    if tid == traced.pid:
                        raise
                    continue
                except PermissionError:
                    tracer = runc_stages.tracer(traced.pid, tid)
                    if tracer is None and tid != traced.pid:  # it is ending
                        continue
                    if tracer != os.getpid():  # ours already if a traced thread created it (PTRACE_O_TRACECLONE)
                        raise
                self._adopt(tid, traced)
            if not new & traced.threads:
                return

    def _adopt(self, tid: int, traced: Traced) -> None:
        traced.threads.add(tid)
        self._owner[tid] = traced
        if (status := self._early.pop(tid, None)) is not None:
            self._on_stop(tid, status)

    def _on_stop(self, tid: int, status: int) -> None:
        traced = self._owner.get(tid)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            self._ended(tid)
            return
        if traced is None:
            self._early[tid] = status  # a new thread may stop before its creator's EVENT_CLONE is read
            return
        number, event = os.WSTOPSIG(status), status >> 16
        try:
            if event == ptrace.EVENT_CLONE:
                self._adopt(ptrace.message(tid), traced)
            if event == ptrace.EVENT_EXEC:  # ended all other threads, without a report of each
                for gone in traced.threads - {tid}:
                    self._owner.pop(gone, None)
                traced.threads &= {tid}
            if traced.leaving:
                self._detach(traced, tid, 0 if event else number)
            elif event == ptrace.EVENT_EXEC and runc_stages.executed(traced.pid):
                traced.stopped_at = time.monotonic()
                traced.deadline = traced.stopped_at + traced.seconds
                self._say(f"stopped {traced.hold} {traced.pid}")
            elif event == ptrace.EVENT_STOP and number in _STOP_SIGNALS:
                ptrace.listen(tid)
            else:
                ptrace.resume(tid, 0 if event else number)
        except ProcessLookupError:
            pass  # killed meanwhile: the next stop reports its end

    def _release(self, traced: Traced, why: str) -> None:
        traced.leaving = why
        traced.deadline = time.monotonic() + _FEED
        if traced.stopped_at:
            with contextlib.suppress(ProcessLookupError):  # killed: the next stop reports its end
                self._detach(traced, traced.pid, 0)
            return
        self._interrupt(traced)

    def _ask_again(self, traced: Traced) -> None:
        """Retry a release that did not finish. Forget threads whose end was read before their EVENT_CLONE."""
        traced.deadline = time.monotonic() + _FEED
        for tid in list(traced.threads):
            if runc_stages.tracer(traced.pid, tid) != os.getpid():
                self._forget(traced, tid)
        self._interrupt(traced)

    def _interrupt(self, traced: Traced) -> None:
        for tid in list(traced.threads):
            with contextlib.suppress(OSError):  # it ends, or is stopped already, which is read next
                ptrace.interrupt(tid)

    def _detach(self, traced: Traced, tid: int, number: int) -> None:
        ptrace.detach(tid, number)
        self._forget(traced, tid)

    def _ended(self, tid: int) -> None:
        self._early.pop(tid, None)
        if traced := self._owner.get(tid):
            self._forget(traced, tid)

    def _forget(self, traced: Traced, tid: int) -> None:
        self._owner.pop(tid, None)
        traced.threads.discard(tid)
        if not traced.threads and self._traced.pop(traced.pid, None) is not None:
            self._left(traced, traced.leaving or "ended")

    def _left(self, traced: Traced, why: str) -> None:
        held = int((time.monotonic() - traced.stopped_at) * 1e6) if traced.stopped_at else -1
        os.close(traced.pidfd)
        self._say(f"left {traced.hold} {traced.pid} {held} {why}")

    def _say(self, words: str) -> None:
        self._said = time.monotonic()
        self._link.send(words.encode())


def _unlike(traced: Traced, namespace: tuple[int, int], cgroup: str) -> str:
    """Why the process that is now traced is not the one that was meant; empty if it is.

    Asked after seizing it: before, its id could have become another's at any moment.
    """
    if not runc_stages.alive(traced.pidfd):
        return "ended"
    if str(traced.pid) not in runc_stages.members(cgroup):
        return "in another cgroup"
    if runc_stages.namespace(traced.pid) != namespace:
        return "in another network namespace"
    if runc_stages.executed(traced.pid):
        return "it executes the entrypoint already"
    return ""


def main(fd: int) -> None:
    """Serve on the socket `fd`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)  # the holder decides when this ends
    urgency.ask()
    with contextlib.suppress(ConnectionError):  # the holder is gone
        Helper(socket.socket(fileno=fd)).run()
    os._exit(0)  # no cleanup: processes stand still until the kernel detaches them
