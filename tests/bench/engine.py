"""The daemon on an engine: who is ready in time, how long that takes, and what it costs.

    python -m tests.bench.engine [--runs 30] [--json FILE] [--only SECTION ...]

Each section has a private host of its own, with an engine that is real or, for crowds, simulated.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench import scale, serving, starting
from tests.bench.samples import Report

SECTIONS: dict[str, Callable[[Report, int], None]] = {
    "starting": starting.every_row,
    "serving": serving.against_docker,
    "crowds": scale.resync,
    "costs": scale.costs,
}


def main() -> int:
    """See the module. Ends with 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.engine", description=__doc__)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    options = parser.parse_args()
    report = Report()
    for section in options.only:
        SECTIONS[section](report, options.runs)
    sys.stdout.write(report.table() + "\n")
    if options.json:
        options.json.write_text(report.to_json() + "\n", encoding="utf-8")
    return 0 if report.reached else 1


if __name__ == "__main__":
    sys.exit(main())
