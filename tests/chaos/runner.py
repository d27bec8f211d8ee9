"""A chaos run: rounds of faults, each followed by rest, one `dockercni sync`, and the checker."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.chaos import checker
from tests.chaos.plan import BACKENDS, Plan, Step, population
from tests.chaos.world import World
from tests.hosts.commands import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TAIL = 200  # lines of a log that are shown with a failure


@dataclass
class Failure:
    """A round after which something was wrong."""

    number: int
    complaints: list[str]
    after_second: list[str]
    story: str


@dataclass
class Report:
    """What a run came to."""

    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    faults: int = 0
    rounds: int = 0
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)

    def __str__(self) -> str:
        counts = ", ".join(f"{kind} {number}" for kind, number in sorted(self.counts.items()))
        wrong = f"{len(self.failures)} rounds with complaints" if self.failures else "nothing lost and nothing left"
        return (
            f"seed {self.seed}: {self.faults} faults in {self.rounds} rounds, {self.seconds:.0f} s: {wrong}\n{counts}"
        )


def run(
    seed: int,
    faults: int,
    containers: int = 20,
    *,
    backends: Sequence[str] = BACKENDS,
    keep_going: bool = False,
    tell: Callable[[str, Failure | None], None] = lambda _, failure: None,
    longest: float = float("inf"),
) -> Report:
    """Run it; ends with the first failure, unless told to go on (from an empty host), or after so many seconds.

    Each daemon has one of `backends`.
    `tell` hears of each round.
    """
    report = Report(seed)
    began = time.monotonic()
    wanted = population(containers)
    plan = Plan(seed, wanted, backends)
    with World(wanted, backends[0]) as world:
        for steps in plan.rounds(faults):
            report.rounds += 1
            failure = _round(world, report.rounds, steps)
            report.counts.update(step.kind for step in steps)
            report.faults += sum(step.fault for step in steps)
            report.seconds = time.monotonic() - began
            tell(f"round {report.rounds}, {report.faults} faults, {report.seconds:.0f} s: {line_of(failure)}", failure)
            if failure:
                report.failures.append(failure)
                if not keep_going:
                    break
                world.settle()
                _round(world, report.rounds, [Step("run", name) for name in wanted])
            if report.seconds > longest:
                break
    return report


def line_of(failure: Failure | None) -> str:
    """What went wrong, in one line."""
    if failure is None:
        return "all is well"
    rest = f"{len(failure.after_second)} after a second sync"
    return f"{len(failure.complaints)} complaints, {rest}: {failure.complaints[0]}"


def _round(world: World, number: int, steps: Sequence[Step]) -> Failure | None:
    began = time.monotonic()
    history = []
    log_start = len(world.daemon.program.text()) if world.daemon else 0
    before = world.daemon
    world.grievances.clear()
    synced = None
    found: list[str] = []
    try:
        for step in steps:
            history.append(f"{time.monotonic() - began:7.2f} {step}")
            world.carry_out(step)
        world.quiesce()
        history.append(f"{time.monotonic() - began:7.2f} sync")
        synced = world.sync()
        history.append(f"{time.monotonic() - began:7.2f} checker")
        found += _complaints(world)
        if synced.returncode:
            found.append(f"sync: exit code {synced.returncode}")
    except (CommandError, AssertionError, TimeoutError) as problem:
        found.append(f"run: {problem}")
    found += world.grievances
    if not found:
        return None
    seen = _seen(world, found)
    again = world.sync()
    try:
        second = _complaints(world)
    except CommandError as problem:  # the engine is gone
        second = [f"run: {problem}"]
    parts = {
        "steps": "\n".join(history),
        "complaints after one sync": "\n".join(found),
        "complaints after a second sync": "\n".join(second),
        "what the kernel shows": seen,
        "first sync": synced.stdout + synced.stderr if synced else "",
        "second sync": again.stdout + again.stderr,
        **_daemon_logs(world, before, log_start),
        "log of the engine": _tail((world.host.logs / "dockerd.log").read_text(errors="replace")),
    }
    return Failure(number, found, second, "\n".join(f"--- {title}\n{text}" for title, text in parts.items()))


def _seen(world: World, found: Sequence[str]) -> str:
    """Links, neighbours and routes of the host and of the containers whose traffic does not pass."""
    show = "ip -s address; ip neighbour; ip route; bridge link; bridge fdb"
    places = {"host": world.host.run("/bin/sh", "-c", show, check=False).stdout}
    for name in {line.split()[1] for line in found if line.startswith("traffic: ")} & world.wanted.keys():
        with contextlib.suppress(AssertionError, CommandError):
            places[name] = world.host.container(name).run("/bin/sh", "-c", show, check=False).stdout
    return "\n".join(f"-- {place}\n{text}" for place, text in places.items())


def _complaints(world: World) -> list[str]:
    return checker.complaints(world.host, world.outside, world.wanted, neighbours=world.neighbours)


def _daemon_logs(world: World, before: object, start: int) -> dict[str, str]:
    """What the daemons of this round said: the one that ran when it began, and those that were started in it."""
    programs = [
        program for program in world.host.background if "daemon" in program.argv and "dockercni" in program.argv
    ]
    logs = {}
    for program in programs:
        if before and program is before.program:  # type: ignore[attr-defined]
            logs.clear()
            logs[f"log of daemon {program.pid} from here"] = _tail(program.text()[start:])
        else:
            logs[f"log of daemon {program.pid}"] = _tail(program.text())
    return logs


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-TAIL:])
