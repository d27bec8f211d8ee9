"""What a chaos run does, from its seed alone: nothing that happens meanwhile changes it. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

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
}
ENGINES = ("exec", "native", "auto")
CURES = {"daemon_start", "engine_start", "free"}


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
    """Containers on one or two of the networks, with no, one or two ports, and each of the restart policies."""
    names = [network.name for network in NETWORKS]
    found = {}
    for number in range(size):
        first, second = names[number % 3], names[(number + 1) % 3]
        networks = (first, second) if number % 4 == 3 else (first,)
        ports = tuple(range(8000 + 10 * number, 8000 + 10 * number + number % 3))
        found[f"c{number:02}"] = Wanted(networks, ports, ("no", "always", "unless-stopped", "on-failure")[number % 4])
    return found


@dataclass
class _State:
    """What can be expected to be there, so that steps make sense most of the time."""

    exists: dict[str, bool]
    running: dict[str, bool]
    daemon: bool = True
    engine: bool = True
    full: bool = False
    records_lost: set[str] = field(default_factory=set)  # in this round
    pins_lost: set[str] = field(default_factory=set)


class Plan:
    """The steps of a run, round by round."""

    def __init__(self, seed: int, names: Mapping[str, Wanted], engines: Sequence[str] = ENGINES) -> None:
        self._engines = engines
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
        for _ in range(self._random.randint(6, 16)):
            if not state.engine and self._random.random() < 0.4:
                yield self._cure("engine_start")
            elif not state.daemon and self._random.random() < 0.3:
                yield self._cure("daemon_start")
            elif state.full and self._random.random() < 0.3:
                yield self._cure("free")
            elif self._random.random() < 0.45:
                yield from self._fault()
            elif state.engine:
                yield self._work(self._random.choice(WORKS), self._random.choice(self._names))
        if state.full:
            yield self._cure("free")
        if not state.engine:
            yield self._cure("engine_start")
        if not state.daemon and self._random.random() < 0.5:
            yield self._cure("daemon_start")

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

    def _cure(self, kind: str) -> Step:
        state = self._state
        match kind:
            case "engine_start":
                state.engine = True
                return Step(kind, detail=self._random.choice(("", "--live-restore")))
            case "daemon_start":
                state.daemon = True
                return Step(kind, detail=f"--engine={self._random.choice(self._engines)}")
            case "free":
                state.full = False
        return Step(kind)

    def _fault(self) -> Iterator[Step]:
        state = self._state
        (kind,) = self._random.choices(list(FAULTS), list(FAULTS.values()))
        delay = self._delay()
        match kind:
            case "daemon_kill" | "daemon_stop" if state.daemon:
                state.daemon = False
                yield Step(kind, delay=delay)
            case "engine_kill" | "engine_stop" if state.engine:
                state.engine = False
                yield Step(kind, detail=self._random.choice(("", "containerd")) if kind == "engine_kill" else "")
            case "order":
                yield Step(kind, detail=self._order())
            case "flush":
                yield Step(kind, detail=self._random.choice(list(FLUSHES)), delay=delay)
            case "unpin" | "forget" | "truncate":
                name = self._random.choice(self._names)
                lost, other = state.records_lost, state.pins_lost
                if kind == "unpin":
                    lost, other = other, lost
                if name not in other:  # with both gone nothing proves any more whose it was
                    lost.add(name)
                    yield Step(kind, name, delay=delay)
            case "fill" if not state.full:
                state.full = True
                yield Step(kind)
            case "cut" | "silence":
                yield Step(kind)

    def _order(self) -> str:
        verb = self._random.choice(("ADD", "ADD", "DEL"))
        what = self._random.choice(("fail", "fail", "hang", "die", "die", "garbage", "crowd"))
        moment = self._random.choice(("before", "after"))
        if (verb, what) == ("DEL", "garbage"):
            moment = "after"  # nobody can see through a plugin that says it is done and did nothing
        return f"{self._random.choice(PLUGINS)}.{verb}.{moment}.{what}"

    def _delay(self) -> float:
        return self._random.choice((0.0, 0.0, 0.02, 0.05, 0.1, 0.2))
