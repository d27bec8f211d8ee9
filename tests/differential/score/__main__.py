"""Breaks every key of the built-in plugins on purpose, and tells which case notices.

    python -m tests.differential.score [-n PROCESSES] [--record FILE] [TEXT ...]

First all cases are run unbroken, to record which keys each of them contains; with --record the FILE of an earlier run
is used where there is one, and written where there is none. With TEXT only the keys that contain one are tried.
Prints a table and the score; exit code 1 below 100 %.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.differential.score import excused, trial
from tests.differential.score.breakage import Breakage
from tests.differential.score.record import Record


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of breaking one key: the case that noticed, or why none did."""

    broken: Breakage
    caught_by: str
    problem: str = ""

    @property
    def row(self) -> str:
        """A line of the table."""
        why = excused.reason(self.broken)
        return f"{self.broken!s:<60} {self.caught_by or f'NOT CAUGHT: {self.problem}'}{f' ({why})' if why else ''}"


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential.score")
    parser.add_argument("-n", "--processes", type=int, default=2)
    parser.add_argument("--record", type=Path)
    parser.add_argument("text", nargs="*")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        file = said.record or Path(directory, "record")
        if not file.exists():
            trial.record(said.processes, file)
        record = Record.of(file.read_text(encoding="utf-8").splitlines())
    wanted = [each for each in record.breakages() if not said.text or any(text in str(each) for text in said.text)]
    caught = 0
    with ThreadPoolExecutor(said.processes) as pool:
        for verdict in pool.map(lambda broken: judge(broken, record), wanted):
            sys.stdout.write(f"{verdict.row}\n")
            sys.stdout.flush()
            caught += bool(verdict.caught_by)
    for unknown in sorted(set(excused.EXCUSED) - set(names(record))):
        sys.stdout.write(f"{unknown}: excused, but no key of any plugin\n")
        wanted = []
    score = 100 * caught / len(wanted) if wanted else 0
    sys.stdout.write(f"score: {caught} of {len(wanted)} keys, {score:.1f} %\n")
    return 0 if caught == len(wanted) and wanted else 1


def judge(broken: Breakage, record: Record) -> Verdict:
    """Run the cases that contain the key, until one fails: comparisons, or for what is excused those elsewhere."""
    elsewhere = bool(excused.reason(broken))
    containing = record.cases(broken, served=not elsewhere)
    cases = [case for case in containing if case.startswith(excused.ELSEWHERE) == elsewhere]
    try:
        return Verdict(broken, trial.catch(broken, cases), f"{len(cases)} cases contain it")
    except trial.CannotTell as error:
        return Verdict(broken, "", f"a run of pytest came to nothing\n{error}")


def names(record: Record) -> Iterator[str]:
    """All that `excused` may name."""
    for broken in record.breakages():
        yield str(broken)
        yield str(Breakage(broken.plugin, broken.path))


if __name__ == "__main__":
    sys.exit(main())
