"""Finds containers that are being started, and has them held until their network is ready.

Theory of operation
===================

The engine reports a start only when the container's program runs already. Its cgroup appears a few milliseconds
earlier, and cgroups can be watched without any API (inotify). So the gate's process runs a StartWatch, which takes each
start through these states:

    the cgroup of a container appears
         |
         v
       FOUND ---+--- its program runs already ----------------------------> missed: log "not held"
         |      +--- no process of the runtime in a network namespace
         |           of its own for NAMESPACE_WITHIN and for the limit ---> given up: log "start not followed",
         |                                                                                "cgroup ignored"
         |  such a process is found; its namespace is opened, and stays whatever becomes of the process
         v
      STARTED        the daemon hears of it and runs ADD, beside all that follows; ends here if the limit is 0 s
         |
         |  PTRACE_SEIZE of each process that is to execute something; it runs on
         v
       SEIZED ---+--- ready before its execve: the daemon says go --------> released, over = "go"
         |       +--- it ended, or its id was reused, before it was ours -> ignored; the next process is seized
         |       +--- no execve for helper.STARTING and for the limit ----> as when STOPPED for too long
         |  execve of the container's program
         v
      STOPPED        before the program's first instruction
         |
         +--- the network is ready: the daemon says go -------------------> released, over = "go"
         +--- the limit is reached, on-failure is leave or hold ----------> released, over = "limit"
         +--- the limit is reached, on-failure is stop -------------------> killed,   over = "limit"
         +--- the network cannot come: the daemon kills it ---------------> killed,   over = "ended"
         +--- `docker kill` ----------------------------------------------> killed,   over = "ended"
         +--- the helper ended or hung -----------------------------------> released, over = "the helper ended"
         +--- the gate ended ---------------------------------------------> released, over = "the gate ended"

When a tracer ends, the kernel detaches what it traced. So nothing stands still for longer than its limit, whichever of
our processes dies. The gate outlives the daemon: while no daemon is connected, starts are found and held all the same,
each to its limit, and the next daemon takes them over. See linux.hold.helper for the tracing, gate.process for the
process that all this runs in, and daemon.starts for the side that decides.

One thread does all this. It sleeps while nothing starts, and looks every half millisecond while something does, until a
process in the new cgroup shows a network namespace of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import structlog

from dockercni.docker.data_root import FilesUnclear
from dockercni.docker.start_proof import Proof
from dockercni.errors import DockercniError
from dockercni.linux import cgroups, runc_stages
from dockercni.linux.cgroups import Tree
from dockercni.linux.hold.holder import Held, Hold, Holder, Limit
from dockercni.linux.netns import Namespace, NamespaceGone
from dockercni.model import Container

# Seconds from the cgroup to the namespace. The runtime needs a few milliseconds. On an overloaded machine it may take
# as long as a container may be held.
NAMESPACE_WITHIN: Final = 5.0
# (age, pause between two rounds while a start is younger than that), both in seconds. Where every start is older than
# 5 s the machine is slow, and so is each round: 20 ms between rounds over sixteen starts on an emulated machine took
# 73 % of a processor, and the ADDs got next to nothing.
_PAUSES: Final = ((0.05, 0.0005), (0.5, 0.002), (5.0, 0.02), (float("inf"), 0.1))
_CONTAINER: Final = re.compile(r"(?:docker-)?([0-9a-f]{64})(?:\.scope)?")
_ID: Final = re.compile(r"[0-9a-f]{64}")
_IGNORED_IDS: Final = 1024  # ids that are remembered, so that each is logged once

NOT_HELD: Final = Limit(0.0)

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Start:
    """A container that is being started, as its files describe it, and the namespace that its processes live in.

    `directory` is a descriptor of its cgroup, `limit` says for how long it may be held, `hold` is None if it is not
    held, `since` is when its cgroup appeared (seconds of CLOCK_MONOTONIC). The receiver closes it.
    """

    container: Container
    namespace: Namespace
    cgroup: str
    directory: int
    limit: Limit = NOT_HELD
    hold: Held | None = None
    since: float = field(default_factory=time.monotonic)

    @property
    def alive(self) -> bool:
        """Whether processes still live in its cgroup. Asked by descriptor, which cannot come to mean another cgroup."""
        return cgroups.populated(self.directory)

    def close(self) -> None:
        """Close the descriptors."""
        os.close(self.directory)
        os.close(self.namespace.fd)


@dataclass(frozen=True, slots=True)
class StartListener:
    """Receives what happens to starts. None of the calls may block.

    `started` gets a start whose namespace was found, `held` the container's id when the state of its hold has changed,
    `ended` id and cgroup when a container's cgroup was removed, `missed` a container whose program runs before it could
    be held, with the reason.
    """

    started: Callable[[Start], None]
    held: Callable[[str], None]
    ended: Callable[[str, str], None]
    missed: Callable[[Container, str], None]


@dataclass(slots=True, eq=False)
class _Finding:
    """A cgroup that appeared, and what is known of it so far.

    `proven` are the processes in it that the runtime made for the container; `others` says that there are others too.
    """

    id: str
    cgroup: str
    directory: int
    since: float = field(default_factory=time.monotonic)
    container: Container | None = None
    limit: Limit = NOT_HELD
    start: Start | None = None
    hold: Hold | None = None
    proven: set[int] = field(default_factory=set)
    others: bool = False


class StartWatch:
    """Finds starting containers below the cgroup hierarchy `root`.

    `described` returns what is known of a container's id. `wanted` returns how long a container may be held, 0 seconds
    if not at all, and None for a container that needs nothing before it runs. Neither may block. Raises OSError where
    the hierarchy cannot be watched.
    """

    def __init__(
        self,
        root: Path,
        described: Callable[[str], Container | None],
        wanted: Callable[[Container], Limit | None],
        proof: Proof,
        holder: Holder,
        listener: StartListener,
    ) -> None:
        self._tree = Tree(root, is_leaf=lambda name: _ID.search(name) is not None)
        self._described = described
        self._wanted = wanted
        self._proof = proof
        self._holder = holder
        self._listener = listener
        self._own = runc_stages.namespace(os.getpid())
        self._findings: dict[str, _Finding] = {}
        self._ignored: set[str] = set()

    def run(self) -> None:
        """Watch for ever. Raises OSError when the watch breaks, and has closed everything then."""
        try:
            self._watch()
        finally:
            for finding in list(self._findings.values()):
                self._close(finding)
            self._tree.close()

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._tree, select.POLLIN)
        while True:
            if self._findings:
                time.sleep(self._pause())
            if poll.poll(0 if self._findings else None):
                for change in self._tree.changes():
                    if change.came:
                        self._appeared(change.path)
                    else:
                        self._removed(change.path)
            for finding in list(self._findings.values()):
                self._advance(finding)

    def _pause(self) -> float:
        age = time.monotonic() - max(finding.since for finding in self._findings.values())
        return next(pause for limit, pause in _PAUSES if age <= limit)

    def _appeared(self, cgroup: str) -> None:
        if match := _CONTAINER.fullmatch(os.path.basename(cgroup)):
            with contextlib.suppress(OSError):  # gone again
                directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                self._findings[cgroup] = _Finding(match[1], cgroup, directory)

    def _removed(self, cgroup: str) -> None:
        if finding := self._findings.get(cgroup):
            self._close(finding)
        if match := _CONTAINER.fullmatch(os.path.basename(cgroup)):
            self._listener.ended(match[1], cgroup)

    def _advance(self, finding: _Finding) -> None:
        try:
            going_on = self._next_step(finding)
        except NamespaceGone:  # that stage of the runtime has ended; the next one is in the same namespace
            going_on = True
        except FilesUnclear as error:
            going_on = time.monotonic() - finding.since < NAMESPACE_WITHIN
            if not going_on:
                log.warning("start not followed", id=finding.id, reason=str(error))
        except DockercniError as error:
            log.warning("start not followed", id=finding.id, reason=str(error))
            going_on = False
        except Exception:
            log.exception("start not followed", id=finding.id)  # a defect of ours must not end the watch
            going_on = False
        if not going_on:
            self._close(finding)

    def _next_step(self, finding: _Finding) -> bool:
        """One round over one finding; whether it needs another one."""
        container = finding.container
        if container is None:
            container = finding.container = self._described(finding.id)
            limit = self._wanted(container) if container else None
            if container is None or limit is None:
                return False
            finding.limit = limit
        for pid, namespace in self._inside(finding):
            if finding.start is None:
                if runc_stages.executed(pid):
                    self._listener.missed(container, "its program ran before it was found")
                    return False
                self._found(finding, container, pid)
            hold = finding.hold
            if hold and pid not in hold.seized and not runc_stages.forking(pid):
                hold.seize(pid, namespace, Path(finding.cgroup))
        if finding.start is None:
            if (age := time.monotonic() - finding.since) < max(NAMESPACE_WITHIN, finding.limit.seconds):
                return True
            if not finding.others:  # if so, `_close` warns of them
                reason = f"none of its processes has a network namespace of its own after {age:.0f} s"
                log.warning("start not followed", container=container.name, id=finding.id, reason=reason)
            return False
        return self._may_still_execute(finding)

    def _may_still_execute(self, finding: _Finding) -> bool:
        """Whether a process of a start that is to be held may still reach its execve."""
        hold = finding.hold
        if hold is None or hold.stopped or hold.over:
            return False
        # A runtime that was killed leaves its cgroup behind, and nobody removes it: an empty cgroup ends the wait. Not
        # while it is young: a process that moves between two cgroups is missed where they are read one after the other.
        return time.monotonic() - finding.since < NAMESPACE_WITHIN or cgroups.populated(finding.directory)

    def _inside(self, finding: _Finding) -> Iterator[tuple[int, tuple[int, int]]]:
        """The proven processes outside of our network namespace; once the container's is known, only those in it."""
        for pid in cgroups.processes(finding.directory):
            with contextlib.suppress(OSError):
                namespace = runc_stages.namespace(pid)
                known = finding.start.namespace.identity if finding.start else namespace
                if namespace == known != self._own and self._is_proven(finding, pid):
                    yield pid, namespace

    def _is_proven(self, finding: _Finding, pid: int) -> bool:
        if pid not in finding.proven:
            if not self._proof.made(pid, finding.id, finding.cgroup):
                finding.others = True
                return False
            finding.proven.add(pid)
        return True

    def _found(self, finding: _Finding, container: Container, pid: int) -> None:
        namespace = Namespace.of_process(pid)
        if namespace.identity == self._own or not self._is_in(finding, pid):  # the id was reused
            os.close(namespace.fd)
            return
        running = replace(container, running=True, pid=pid)
        try:
            directory = os.dup(finding.directory)
        except OSError:
            os.close(namespace.fd)
            raise
        start = Start(running, namespace, finding.cgroup, directory, finding.limit)
        if finding.limit.seconds:
            try:
                hold = self._holder.hold(finding.limit, lambda: self._listener.held(container.id))
                start.hold = finding.hold = hold
            except OSError as error:  # a limit on processes: the network comes without a hold
                self._listener.missed(container, f"the helper that holds it cannot be started: {error.strerror}")
        finding.start = start
        self._listener.started(start)

    def _is_in(self, finding: _Finding, pid: int) -> bool:
        return pid in cgroups.processes(finding.directory)

    def _close(self, finding: _Finding) -> None:
        del self._findings[finding.cgroup]
        if (
            finding.others
            and not finding.start
            and finding.id not in self._ignored
            and len(self._ignored) < _IGNORED_IDS
        ):
            self._ignored.add(finding.id)  # logged once: who makes one such cgroup can make many
            log.warning(
                "cgroup ignored", id=finding.id, path=finding.cgroup, reason="the runtime started none of its processes"
            )
        os.close(finding.directory)
        if finding.hold:
            finding.hold.finish()
