"""`python -m tests.chaos --seed N --faults 1000`: see runner.py."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.chaos.plan import BACKENDS
from tests.chaos.runner import Failure, run


def main() -> int:
    """Run, and print what it came to; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Break everything, and see it mended.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--containers", type=int, default=20)
    parser.add_argument("--backend", choices=BACKENDS, help="of every daemon; if not given, each has another one")
    parser.add_argument("--keep-going", action="store_true", help="do not end with the first failure")
    parser.add_argument("--stories", type=Path, help="a directory for the history and logs of each failure")
    said = parser.parse_args()

    def tell(line: str, failure: Failure | None) -> None:
        sys.stdout.write(f"{line}\n")
        if failure and said.stories:
            said.stories.mkdir(parents=True, exist_ok=True)
            (said.stories / f"seed-{said.seed}-round-{failure.number}.txt").write_text(failure.story)
        elif failure:
            sys.stdout.write(f"{failure.story}\n")
        sys.stdout.flush()

    backends = (said.backend,) if said.backend else BACKENDS
    report = run(said.seed, said.faults, said.containers, backends=backends, keep_going=said.keep_going, tell=tell)
    sys.stdout.write(f"{report}\n")
    return bool(report.failures)


if __name__ == "__main__":
    sys.exit(main())
