"""An engine, a kernel and a daemon that exist in memory only, and go on one step at a time when they are told to.

The work queue and the plan are the real ones. A run stops before each of its steps; the test decides which run goes on,
whether its plugin fails, and when the daemon dies. What must never happen raises Violation at once.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

from dockercni.daemon.work_queue import WorkQueue
from dockercni.errors import Retry
from dockercni.model import Attachment, Container, NetnsId, NetworkRequest
from dockercni.reconcile.plan import Attach, Detach, Observed, Pin, Unpin, plan
from tests.hosts import wait_until

NETWORK, IFNAME = "net", "eth0"
REQUEST = NetworkRequest(NETWORK, IFNAME)


class Clock:
    """Stands in the place of the module `time` of the work queue; moves only when told to."""

    now = 0.0

    def monotonic(self) -> float:
        """The time that the test says it is."""
        return self.now


clock = Clock()


class Violation(AssertionError):
    """Something happened that must never happen."""


class Died(BaseException):
    """The daemon was killed while it stood at a gate."""


@dataclass
class World:
    """What outlives the daemon: containers (id -> life while it runs), links, records and pins."""

    containers: dict[str, NetnsId | None] = field(default_factory=dict)
    links: set[tuple[str, NetnsId]] = field(default_factory=set)
    records: dict[str, Attachment] = field(default_factory=dict)
    pins: dict[str, NetnsId] = field(default_factory=dict)
    forgetful: bool = False  # the engine says that it knows no container
    lives: int = 0

    def start(self, name: str) -> None:
        """A new life, in a namespace that never was."""
        self.lives += 1
        self.containers[name] = NetnsId("boot", str(self.lives))

    def stop(self, name: str, *, remove: bool = False) -> None:
        """The end of a life; the namespace, with its link, stays for as long as it is pinned."""
        netns_id = self.containers.pop(name, None) if remove else self.containers.get(name)
        if not remove:
            self.containers[name] = None
        if netns_id and self.pins.get(name) != netns_id:
            self.links.discard((name, netns_id))

    def live(self, name: str) -> NetnsId | None:
        """The life of a container that runs, whatever the engine says."""
        return self.containers.get(name)

    def unpin(self, name: str) -> None:
        """Let the pinned namespace go, and all that is in it, unless the container lives there."""
        netns_id = self.pins.pop(name, None)
        if netns_id and self.live(name) != netns_id:
            self.links.discard((name, netns_id))

    def converged(self) -> bool:
        """Whether every running container has its link, record and pin, and nothing else exists."""
        due = {name: netns_id for name, netns_id in self.containers.items() if netns_id}
        recorded = {name: record.netns_id for name, record in self.records.items() if record.complete}
        return self.links == set(due.items()) and recorded == due and len(self.records) == len(due) and self.pins == due


class Daemon:
    """One life of the daemon: the real work queue, and runs that stop at gates."""

    def __init__(self, world: World, workers: int) -> None:
        self.world = world
        self.dead = False
        self._guard = threading.Lock()
        self._gates: dict[str, threading.Event] = {}
        self._failing: set[str] = set()  # whose present step is to fail
        self._looking: set[str] = set()
        self.violation: Violation | None = None
        self.queue = WorkQueue(self._look, workers)

    def waiting(self) -> list[str]:
        """The containers whose looks stand at a gate, when nothing goes on by itself any more."""
        wait_until(self._still, 10, "all looks at a gate", lambda: (self.queue.busy(), self._gates))
        if self.violation:
            raise self.violation
        with self._guard:
            return sorted(self._gates)

    def advance(self, name: str, *, fail: bool = False) -> None:
        """Let one look go on for one step."""
        with self._guard:
            if fail:
                self._failing.add(name)
            self._gates.pop(name).set()
        self.waiting()

    def die(self) -> None:
        """SIGKILL: nothing that was begun is finished."""
        with self._guard:
            self.dead = True
            for gate in self._gates.values():
                gate.set()
            self._gates.clear()
        self.queue.drain(10)

    def _still(self) -> bool:
        with self.queue._changed, self._guard:
            if self.violation:
                return True
            if any(due <= clock.now for due in self.queue._due.values()) or set(self.queue._busy) != set(self._gates):
                return False
            return not self.queue._may_start(clock.now)

    def _gate(self, name: str) -> bool:
        """Stand until told to go on; True if the step is to fail."""
        gate = threading.Event()
        with self._guard:
            if self.dead:
                raise Died
            self._failing.discard(name)
            self._gates[name] = gate
        gate.wait()
        if self.dead:
            raise Died
        return name in self._failing

    def _look(self, name: str, _: str) -> Retry:
        try:
            return Retry.NEVER if self._alone(name) else Retry.LATER
        except Died:
            return Retry.NEVER
        except Violation as violation:
            self.violation = violation
            return Retry.NEVER

    def _alone(self, name: str) -> bool:
        if name in self._looking:
            raise Violation(f"two operations for {name} at once")
        self._looking.add(name)
        try:
            return self._steps(name)
        finally:
            self._looking.discard(name)

    def _steps(self, name: str) -> bool:
        """What look.py does, with a gate before each thing that takes time. True when nothing is left to do."""
        world = self.world
        if self._gate(name):
            return False  # the engine does not answer
        known = name in world.containers and not world.forgetful
        netns_id = world.live(name) if known else None
        container = Container(name, name, running=netns_id is not None) if known else None
        self._gate(name)
        if netns_id and world.live(name) != netns_id:
            netns_id = None  # ended between the two questions; the namespace is gone
        recorded = [world.records[name]] if name in world.records else []
        observed = Observed(
            container=container,
            netns_id=netns_id,
            links=frozenset({IFNAME}) if netns_id and (name, netns_id) in world.links else frozenset(),
            pinned=world.pins.get(name),
            pin_exists=name in world.pins,
            inhabited=world.live(name) is not None
            and world.live(name) in ({world.pins[name]} if name in world.pins else {one.netns_id for one in recorded}),
        )
        wanted = [REQUEST] if container and container.running else None
        done = True
        for action in plan(wanted, recorded, observed):
            match action:
                case Attach():
                    done = self._attach(name, netns_id) and done
                case Detach(attachment, alive):
                    done = self._detach(name, attachment, alive=alive) and done
                case Pin():
                    self._gate(name)
                    if netns_id and world.live(name) == netns_id:
                        world.pins[name] = netns_id
                case Unpin():
                    self._gate(name)
                    world.unpin(name)
        return done

    def _attach(self, name: str, netns_id: NetnsId | None) -> bool:
        world = self.world
        self._gate(name)
        if netns_id is None or world.live(name) != netns_id:
            return False  # not confirmed: it stopped or was restarted
        if name in world.records:
            return False  # the record of a DEL that failed stands in the way
        world.pins[name] = netns_id
        record = Attachment(NETWORK, name, IFNAME, netns_id, complete=False)
        world.records[name] = record
        failed = self._gate(name)
        if (name, netns_id) in world.links:
            raise Violation(f"{name} is attached twice")
        world.links.add((name, netns_id))
        if failed:
            return self._detach(name, record, alive=True) and False
        self._gate(name)
        world.records[name] = replace(record, complete=True)
        return True

    def _detach(self, name: str, attachment: Attachment, *, alive: bool) -> bool:
        world = self.world
        failed = self._gate(name)
        if (
            attachment.complete
            and attachment.netns_id == world.live(name)
            and (name, attachment.netns_id) in world.links
        ):
            raise Violation(f"{name} lives and loses its network")
        if failed:
            return False
        if alive:
            world.links.discard((name, attachment.netns_id))
        self._gate(name)
        world.records.pop(name, None)
        return True
