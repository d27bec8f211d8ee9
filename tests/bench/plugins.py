"""The built-in plugins against the executables, and against netavark.

    python -m tests.bench.plugins [--runs 40] [--json FILE] [--only SECTION ...]

Each section runs in private hosts of its own; ADDs and DELs that are compared take turns, run by run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.bench import attaching, connecting, crowd, processes, walk
from tests.bench.samples import Figure, Ratio, Report
from tests.hosts import Host

ROOT = Path(__file__).parents[2]
SECTIONS: dict[str, Callable[[Report, int], None]] = {
    "chain": attaching.chain,
    "walk": walk.walk,
    "ports": attaching.ports,
    "host-local": attaching.host_local,
    "cold": processes.cold,
    "connections": partial(connecting.published, who="builtin"),
    "connections-executables": partial(connecting.published, who="executables"),
}
PAIRED: dict[str, Callable[[Report, int], None]] = {"crowd": crowd.compare}
"""Sections with several hosts, which they make themselves."""


def main() -> int:
    """See the module. Ends with 1 if a target is missed."""
    names = [*SECTIONS, *PAIRED]
    parser = argparse.ArgumentParser(prog="python -m tests.bench.plugins", description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs="*", choices=names, default=names)
    parser.add_argument("--inside", choices=SECTIONS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    report = Report()
    if options.inside:
        SECTIONS[options.inside](report, options.runs)
        ratios = [(each.what, each.ours, each.other, each.value, each.bound, each.most) for each in report.ratios]
        samples = [(each.what, each.who, each.runs) for each in report.samples.values()]
        figures = [(each.what, each.value, each.unit, each.bound, each.least) for each in report.figures]
        sys.stdout.write(json.dumps([samples, ratios, figures]))
        return 0
    for section in options.only:
        if section in PAIRED:
            PAIRED[section](report, options.runs)
        else:
            _run(section, options.runs, report)
    sys.stdout.write(report.table() + "\n")
    if options.json:
        options.json.write_text(report.to_json() + "\n", encoding="utf-8")
    return 0 if report.reached else 1


def _run(section: str, runs: int, report: Report) -> None:
    command = [sys.executable, "-m", "tests.bench.plugins", "--inside", section, "--runs", str(runs)]
    with Host() as host:
        done = subprocess.run(
            [*host.entry, *command],
            stdout=subprocess.PIPE,
            env={**host.env, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            check=True,
        )
    samples, ratios, figures = json.loads(done.stdout)
    for what, who, milliseconds in samples:
        report.add(what, who, *milliseconds)
    report.ratios += [Ratio(*each) for each in ratios]
    report.figures += [Figure(*each) for each in figures]


if __name__ == "__main__":
    sys.exit(main())
