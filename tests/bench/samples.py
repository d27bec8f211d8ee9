"""What was measured, as table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Samples:
    """The runs of one thing, in milliseconds. `target` names what its ratio is to, `bound` what that has to reach."""

    what: str
    who: str
    runs: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.runs)

    @property
    def spread(self) -> tuple[float, float]:
        """The 10th and the 90th of a hundred."""
        if len(self.runs) == 1:
            return self.runs[0], self.runs[0]
        tenths = statistics.quantiles(self.runs, n=10, method="inclusive")
        return tenths[0], tenths[-1]


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times `other` took what `ours` took; `bound` is the least (or with `most` the most) that will do."""

    what: str
    ours: str
    other: str
    value: float
    bound: float
    most: bool = False

    @property
    def reached(self) -> bool:
        """Whether that is good enough."""
        return self.value <= self.bound if self.most else self.value >= self.bound


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that is no time in milliseconds; `bound` is the most (or with `least` the least) that will do."""

    what: str
    value: float
    unit: str
    bound: float
    least: bool = False

    @property
    def reached(self) -> bool:
        """Whether that is good enough."""
        return self.value >= self.bound if self.least else self.value <= self.bound


class Report:
    """All of it, in the order in which it was first measured."""

    def __init__(self) -> None:
        self.samples: dict[tuple[str, str], Samples] = {}
        self.ratios: list[Ratio] = []
        self.figures: list[Figure] = []

    @property
    def reached(self) -> bool:
        """Whether everything is good enough."""
        return all(each.reached for each in (*self.ratios, *self.figures))

    def add(self, what: str, who: str, *milliseconds: float) -> None:
        """One or more runs."""
        self.samples.setdefault((what, who), Samples(what, who)).runs.extend(milliseconds)

    def compare(self, what: str, ours: str, other: str, bound: float, *, most: bool = False) -> None:
        """A ratio of medians: other / ours, or ours / other where `most` bounds it."""
        one, two = self.samples[what, ours].median, self.samples[what, other].median
        self.ratios.append(Ratio(what, ours, other, one / two if most else two / one, bound, most))

    def grow(self, what: str, who: str, base: str, bound: float) -> None:
        """How many times what `base` takes the same thing takes now."""
        value = self.samples[what, who].median / self.samples[base, who].median
        self.ratios.append(Ratio(f"{what}, to {base}", who, who, value, bound, most=True))

    def within(self, what: str, who: str, milliseconds: float) -> None:
        """Which part of the time that it may take it takes."""
        value = self.samples[what, who].median / milliseconds
        self.ratios.append(Ratio(f"{what}, to {milliseconds:g} ms", who, who, value, 1, most=True))

    def table(self) -> str:
        """For people."""
        lines = [f"{'what':44} {'who':12} {'runs':>5} {'median':>9} {'10 %':>9} {'90 %':>9}  (ms)"]
        for each in self.samples.values():
            low, high = each.spread
            lines.append(f"{each.what:44} {each.who:12} {len(each.runs):5} {each.median:9.3f} {low:9.3f} {high:9.3f}")
        if self.ratios:
            lines += ["", f"{'ratio of medians':57} {'is':>7} {'wanted':>9}"]
        for ratio in self.ratios:
            who = f"{ratio.ours} to {ratio.other}" if ratio.ours != ratio.other else ratio.ours
            sign = "<=" if ratio.most else ">="
            mark = "" if ratio.reached else "  missed"
            lines.append(f"{ratio.what + ', ' + who:57} {ratio.value:7.2f} {sign} {ratio.bound:6.2f}{mark}")
        if self.figures:
            lines += ["", f"{'figure':57} {'is':>7} {'wanted':>9}"]
        for figure in self.figures:
            sign = ">=" if figure.least else "<="
            mark = "" if figure.reached else "  missed"
            lines.append(f"{figure.what:57} {figure.value:7.2f} {sign} {figure.bound:6.2f} {figure.unit}{mark}")
        return "\n".join(lines)

    def to_json(self) -> str:
        """For programs; with the machine, which the numbers mean nothing without."""
        document: dict[str, Any] = {
            "schema": 1,
            "machine": {"kernel": platform.release(), "cpus": os.cpu_count(), "python": platform.python_version()},
            "load": os.getloadavg(),
            "samples": [
                {**asdict(each), "median": each.median, "spread": each.spread} for each in self.samples.values()
            ],
            "ratios": [{**asdict(ratio), "reached": ratio.reached} for ratio in self.ratios],
            "figures": [{**asdict(figure), "reached": figure.reached} for figure in self.figures],
        }
        return json.dumps(document, indent=2)
