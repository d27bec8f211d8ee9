"""Two private hosts, A with the executables and B with our plugins, in which the same steps are run and compared."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self

from tests.differential import differences, view
from tests.differential.differences import ALLOWED, ALWAYS
from tests.differential.side import Outcome, Side, Step

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tests.hosts import Host


class Twin:
    """Runs steps on both sides and collects where they differ; `close` (the end of `with`) fails on what is left.

    `expected` names the rows of `differences.ALLOWED` that have to be met; those of `possible` may be. A test asks for
    what else is to be compared: `compare_network`, `compare_leases`, `compare`. `problems` is what was found so far.
    """

    def __init__(self, *expected: str, possible: tuple[str, ...] = ()) -> None:
        self.expected = expected
        self.possible = possible
        self.reference = Side("exec")
        self.native = Side("builtin")
        self._labels = {"exec": view.Labels(), "builtin": view.Labels()}
        self._steps = 0
        self._met: set[str] = set()
        self.problems: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        for side in (self.reference, self.native):
            side.close()
        if kind is None:
            unmet = [f"expected, but not met: {name}" for name in self.expected if name not in self._met]
            assert not self.problems + unmet, "\n".join(self.problems + unmet)

    def both(self, *argv: str, stdin: str | None = None) -> None:
        """Run a program in both hosts, for what a case needs to be there."""
        for side in (self.reference, self.native):
            side.host.run(*argv, input=stdin)

    def write(self, path: str, text: str) -> None:
        """Write a file in both hosts."""
        for side in (self.reference, self.native):
            side.host.write(path, text)

    def container(self, name: str = "c1") -> str:
        """Make a namespace of that name in both, and return its path, which is the same."""
        self.both("ip", "netns", "add", name)
        return f"/run/netns/{name}"

    def step(self, verb: str, conf: dict[str, Any], **more: Any) -> Outcome:
        """Run one verb on both sides, compare what it came to, and return ours. See `Step` for the arguments."""
        return self.steps(Step(verb, conf, **more))

    def steps(self, step: Step, native: Step | None = None) -> Outcome:
        """As `step`; `native` where our side needs another one, such as its own prevResult."""
        self._steps += 1
        one, other = self.reference.run(step), self.native.run(native or step)
        self._compare(f"{step.verb} {self._steps}", one.shown(), other.shown())
        return other

    def chain(self, verb: str, conf: dict[str, Any], previous: tuple[Any, Any], **more: Any) -> tuple[Any, Any]:
        """A step whose prevResult is each side's own; returns the results of (reference, ours)."""
        self._steps += 1
        outcomes = [
            side.run(Step(verb, {**conf, "prevResult": result} if result is not None else conf, **more))
            for side, result in zip((self.reference, self.native), previous, strict=True)
        ]
        self._compare(f"{verb} {self._steps}", outcomes[0].shown(), outcomes[1].shown())
        return outcomes[0].result, outcomes[1].result

    def compare_network(self, *namespaces: str) -> None:
        """Compare links, addresses, routes and sysctls of the hosts and of the named namespaces."""
        self.compare("host", view.network)
        for name in namespaces:
            self.compare(name, partial(view.network, namespace=name))

    def compare_leases(self, directory: str = view.LEASES) -> None:
        """Compare every file of the lease directory: names, modes, bytes."""
        self.compare("leases", lambda host: view.files(host, directory))

    def compare(self, title: str, look: Callable[[Host], Any]) -> None:
        """Compare whatever `look` finds in the two hosts."""
        self._compare(title, look(self.reference.host), look(self.native.host))

    def _compare(self, title: str, reference: Any, ours: Any) -> None:
        one, other = self._labels["exec"].apply(reference), self._labels["builtin"].apply(ours)
        for place, left, right in differences.found({title: one}, {title: other}):
            rows = [
                name for name in (*self.expected, *self.possible, *ALWAYS) if ALLOWED[name].covers(place, left, right)
            ]
            self._met.update(rows)
            if not rows:
                self.problems.append(f"{place}\n    reference: {left}\n    ours:      {right}")
