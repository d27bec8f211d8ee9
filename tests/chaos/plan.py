"""What a chaos run does, from its seed alone: nothing that happens meanwhile changes it. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.damage import HOST
from tests.chaos.orders import PLUGINS
from tests.chaos.wanted import NETWORKS, Wanted

FLUSHES = {
    "filter": "iptables -F",
    "nat": "iptables -t nat -F",
    "all": "nft flush ruleset",
    "docker-user": "iptables -F DOCKER-USER",
    "forward": "iptables -F CNI-FORWARD",
    "table": "nft delete table inet dockercni",
    "sources": f"nft flush set inet dockercni leaving-{NETWORKS[0].subnet}",
}
WORKS = ("run", "run", "start", "start", "stop", "restart", "kill", "crash", "remove", "pause", "unpause", "rename")
FAULTS = {  # how often, relative to each other
    "daemon_kill": 6,
    "daemon_stop": 2,
    "engine_kill": 2,
    "engine_stop": 1,
    "order": 10,
    "flush": 3,
    "unpin": 3,
    "forget": 2,
    "truncate": 2,
    "fill": 2,
    "cut": 2,
    "silence": 1,
    "tear": 1,
    "garble": 1,
    "damage": 6,
    "containerd_kill": 1,
    "crowd": 1,
    "administrate": 3,
    "claim": 2,
}
BACKENDS = ("exec", "builtin", "auto")
MANY_PORTS, MANY_PORTS_ON = 100, 4  # as many as the reference portmap can make in the time that it is given here

TAKES = {  # what a fault takes away until it is cured
    "daemon_kill": "daemon",
    "daemon_stop": "daemon",
    "engine_kill": "engine",
    "engine_stop": "engine",
    "fill": "room",
    "crowd": "threads",
}
NEEDS = {"containerd_kill": "engine", "crowd": "daemon"}
CURES = {  # for what was taken away: its cure, and how likely that comes next
    "engine": ("engine_start", 0.4),
    "daemon": ("daemon_start", 0.3),
    "room": ("free", 0.3),
    "threads": ("part", 0.5),
}
DETAILS = {
    "engine_kill": ("", "containerd"),
    "engine_start": ("", "--live-restore"),
    "flush": tuple(FLUSHES),
    "fill": ("state", "run"),
    "damage": tuple(HOST),
    "administrate": ("-I", "-I", "-A"),
}


@dataclass(frozen=True)
class Step:
    """One thing to do: to a container (`target`), in which way (`detail`), so many seconds after the one before."""

    kind: str
    target: str = ""
    detail: str = ""
    delay: float = 0.0

    @property
    def fault(self) -> bool:
        """Whether it is counted as one."""
        return self.kind in FAULTS

    def __str__(self) -> str:
        words = (f"+{self.delay * 1000:.0f}ms" if self.delay else "", self.kind, self.target, self.detail)
        return " ".join(word for word in words if word)


def population(size: int) -> dict[str, Wanted]:
    """Containers on one or two of the networks, with no, one or two ports, and each of the restart policies.

    One has hundreds of ports.
    """
    names = [network.name for network in NETWORKS]
    found = {}
    for number in range(size):
        first, second = names[number % 3], names[(number + 1) % 3]
        networks = (first, second) if number % 4 == 3 else (first,)
        ports = tuple(range(8000 + 10 * number, 8000 + 10 * number + number % 3))
        if number == MANY_PORTS_ON:
            ports = tuple(range(20000, 20000 + MANY_PORTS))
        found[f"c{number:02}"] = Wanted(networks, ports, ("no", "always", "unless-stopped", "on-failure")[number % 4])
    return found


@dataclass
class _State:
    """What can be expected to be there, so that steps make sense most of the time."""

    exists: dict[str, bool]
    running: dict[str, bool]
    there: set[str] = field(default_factory=lambda: set(CURES))  # of what faults take away
    records_lost: set[str] = field(default_factory=set)  # in this round
    pins_lost: set[str] = field(default_factory=set)


class Plan:
    """The steps of a run, round by round."""

    def __init__(self, seed: int, names: Mapping[str, Wanted], backends: Sequence[str] = BACKENDS) -> None:
        self._backends = backends
        self._random = random.Random(seed)
        self._names = sorted(names)
        self._state = _State(dict.fromkeys(names, False), dict.fromkeys(names, False))

    def rounds(self, faults: int) -> Iterator[list[Step]]:
        """Rounds until there were so many faults. Each ends with the engine up; the daemon may be down."""
        done = 0
        yield [self._work("run", name) for name in self._names]
        while done < faults:
            steps = list(self._round())
            done += sum(step.fault for step in steps)
            yield steps

    def _round(self) -> Iterator[Step]:
        state = self._state
        state.records_lost.clear()
        state.pins_lost.clear()
        for _ in range(self._random.randint(10, 24)):
            missing = [what for what, (_, chance) in CURES.items() if what not in state.there and self._chance(chance)]
            if missing:
                yield self._cure(missing[0])
            elif self._chance(0.45):
                yield from self._fault()
            elif "engine" in state.there:
                yield self._work(self._random.choice(WORKS), self._random.choice(self._names))
        for what in sorted({"room", "threads", "engine"} - state.there):
            yield self._cure(what)
        if "daemon" not in state.there and self._chance(0.5):
            yield self._cure("daemon")

    def _chance(self, likely: float) -> bool:
        return self._random.random() < likely

    def _work(self, kind: str, name: str) -> Step:
        state = self._state
        if not state.exists[name]:
            kind = "run"
        elif kind == "run":
            kind = "start"
        match kind:
            case "run" | "start" | "restart" | "crash":
                state.exists[name] = state.running[name] = True
            case "stop" | "kill":
                state.running[name] = False
            case "remove":
                state.exists[name] = state.running[name] = False
        return Step(kind, name, delay=self._delay())

    def _cure(self, what: str) -> Step:
        self._state.there.add(what)
        kind = CURES[what][0]
        return Step(kind, detail=self._detail(kind))

    def _fault(self) -> Iterator[Step]:
        (kind,) = self._random.choices(list(FAULTS), list(FAULTS.values()))
        if {needed for table in (TAKES, NEEDS) if (needed := table.get(kind))} - self._state.there:
            return
        self._state.there.discard(TAKES.get(kind, ""))
        if kind in {"unpin", "forget", "truncate"}:
            yield from self._loss(kind)
        else:
            yield Step(kind, self._target(kind), self._detail(kind), self._delay())

    def _loss(self, kind: str) -> Iterator[Step]:
        name = self._random.choice(self._names)
        lost, other = self._state.records_lost, self._state.pins_lost
        if kind == "unpin":
            lost, other = other, lost
        if name not in other:  # with both gone nothing proves any more whose it was
            lost.add(name)
            yield Step(kind, name, delay=self._delay())

    def _target(self, kind: str) -> str:
        match kind:
            case "damage":
                return self._random.choice(NETWORKS).name
            case "administrate" | "claim":
                return self._random.choice(self._names)
        return ""

    def _detail(self, kind: str) -> str:
        match kind:
            case "order":
                return self._order()
            case "daemon_start":
                return f"--backend={self._random.choice(self._backends)}"
        return self._random.choice(DETAILS.get(kind, ("",)))

    def _order(self) -> str:
        verb = self._random.choice(("ADD", "ADD", "DEL"))
        what = self._random.choice(("fail", "fail", "hang", "die", "die", "garbage", "crowd"))
        moment = self._random.choice(("before", "after"))
        if (verb, what) == ("DEL", "garbage"):
            moment = "after"  # nobody can see through a plugin that says it is done and did nothing
        return f"{self._random.choice(PLUGINS)}.{verb}.{moment}.{what}"

    def _delay(self) -> float:
        return self._random.choice((0.0, 0.0, 0.02, 0.05, 0.1, 0.2))
