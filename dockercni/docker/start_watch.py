"""Containers that are being started: their cgroup appears -> their network namespace, held by descriptor at once.

Needs no API. One thread does it all: it sleeps while nothing starts, and looks every half millisecond while something
does, until a process in the new cgroup shows a network namespace of its own.
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

# Seconds from the cgroup to the namespace. The runtime needs a few milliseconds; on a machine that has far too much to
# do it may take as long as a container may be held.
NAMESPACE_WITHIN: Final = 5.0
# Up to this age: this pause between two rounds. Where nothing is younger than 5 s all is slow, rounds as well: 20 ms
# between those over sixteen starts on an emulated machine took 73 % of a processor, and the ADDs got next to nothing.
_PAUSES: Final = ((0.05, 0.0005), (0.5, 0.002), (5.0, 0.02), (float("inf"), 0.1))
_CONTAINER: Final = re.compile(r"(?:docker-)?([0-9a-f]{64})(?:\.scope)?")
_ID: Final = re.compile(r"[0-9a-f]{64}")
_TOLD: Final = 1024  # ids that are kept, so that each is told of once

NOT_HELD: Final = Limit(0.0)

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Start:
    """A container that is being started, as its files describe it, and the namespace that its processes live in.

    `limit` says for how long it is to be held, `hold` is there if it is. Whoever gets it closes it.
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
        """Whether processes live in its cgroup still; its `directory` cannot have become another's."""
        return cgroups.populated(self.directory)

    def close(self) -> None:
        """Let the descriptors go."""
        os.close(self.directory)
        os.close(self.namespace.fd)


@dataclass(frozen=True, slots=True)
class StartListener:
    """Who hears of starts. None of the calls may block.

    `held` is called when the state of a container's hold has changed, `ended` when a container's
    cgroup was removed, `missed` with the reason when a container's program runs before we could do anything.
    """

    started: Callable[[Start], None]
    held: Callable[[str], None]
    ended: Callable[[str, str], None]
    missed: Callable[[Container, str], None]


@dataclass(slots=True, eq=False)
class _Finding:
    """A cgroup that appeared, and what is known of it so far.

    `proven` are the processes in it that the runtime made for the container; `others` says that there are others.
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

    `described` says what is known of an id; `wanted` how long a container may be held, 0 seconds if not at all, and
    None if nothing is to be done before it runs. Neither may block. Raises OSError where the hierarchy cannot be
    watched.
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
        """Watch for ever. Raises OSError when the watch breaks; then nothing of it is left."""
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
                self._look(finding)

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

    def _look(self, finding: _Finding) -> None:
        try:
            going_on = self._further(finding)
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

    def _further(self, finding: _Finding) -> bool:
        """One round; whether another one is needed."""
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
                    self._listener.missed(container, "its program ran already when it was found")
                    return False
                self._found(finding, container, pid)
            hold = finding.hold
            if hold and pid not in hold.seized and not runc_stages.forking(pid):
                hold.seize(pid, namespace, Path(finding.cgroup))
        if finding.start is None:
            if (age := time.monotonic() - finding.since) < max(NAMESPACE_WITHIN, finding.limit.seconds):
                return True
            if not finding.others:  # else `_close` warns of processes that are not the runtime's
                reason = f"none of its processes has a network namespace of its own after {age:.0f} s"
                log.warning("start not followed", container=container.name, id=finding.id, reason=reason)
            return False
        return self._is_on_its_way(finding)

    def _is_on_its_way(self, finding: _Finding) -> bool:
        """Whether a process of a start that is to be held may still come to its execve."""
        hold = finding.hold
        if hold is None or hold.stopped or hold.over:
            return False
        # A runtime that was killed leaves its cgroup behind, and nobody removes it. A young one is not judged by that:
        # a process that moves between two cgroups can be missed by whoever reads one after the other.
        return time.monotonic() - finding.since < NAMESPACE_WITHIN or cgroups.populated(finding.directory)

    def _inside(self, finding: _Finding) -> Iterator[tuple[int, tuple[int, int]]]:
        """The processes of the cgroup in a network namespace of their own: the container's, once it is known."""
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
        if namespace.identity == self._own or not self._is_in(finding, pid):  # its id is another's now
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
            except OSError as error:  # no process can be started: it goes on without
                self._listener.missed(container, f"no helper can be started to hold it: {error.strerror}")
        finding.start = start
        self._listener.started(start)

    def _is_in(self, finding: _Finding, pid: int) -> bool:
        return pid in cgroups.processes(finding.directory)

    def _close(self, finding: _Finding) -> None:
        del self._findings[finding.cgroup]
        if finding.others and not finding.start and finding.id not in self._ignored and len(self._ignored) < _TOLD:
            self._ignored.add(finding.id)  # said once: whoever makes one such cgroup can make many
            log.warning(
                "cgroup ignored", id=finding.id, path=finding.cgroup, reason="the runtime made none of its processes"
            )
        os.close(finding.directory)
        if finding.hold:
            finding.hold.finish()
