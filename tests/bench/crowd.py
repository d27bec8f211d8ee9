"""ADD and DEL beside many that are attached already, in turn with a host where nothing is.

As a program, which runs inside a host: reads `fill N` and `turn` from stdin, and answers each with a line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from dockercni.cni import parse_list
from tests.bench.attaching import attachment, network, run, runtime, timed
from tests.bench.samples import Report
from tests.hosts import Host

ROOT = Path(__file__).parents[2]
SIZES = (1000, 2000)
BOUND = 1.2
_ON_A_BRIDGE = 500  # a bridge has room for 1,023 ports
_IN_A_NAMESPACE = 100


class _Worker:
    """The program below in a private host."""

    def __init__(self, host: Host) -> None:
        self._process = subprocess.Popen(
            [*host.entry, sys.executable, "-m", "tests.bench.crowd"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**host.env, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
        )

    def ask(self, line: str) -> Any:
        """Have it do something, to the end."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()


def compare(report: Report, runs: int) -> None:
    """The same ADD and DEL in two hosts that take turns."""
    with Host() as empty, Host() as full:
        alone, beside = _Worker(empty), _Worker(full)
        for size in SIZES:
            beside.ask(f"fill {size}")
            for turn in range(runs + 1):
                for worker, where in ((alone, f"alone, in turn with {size}"), (beside, f"beside {size}")):
                    up, down = worker.ask("turn")
                    if turn:
                        report.add(f"ADD {where}", "builtin", up)
                        report.add(f"DEL {where}", "builtin", down)
            for verb in ("ADD", "DEL"):
                report.grow(f"{verb} beside {size}", "builtin", f"{verb} alone, in turn with {size}", BOUND)
        alone.close()
        beside.close()


def serve() -> None:
    """Inside a host."""
    serving = runtime("builtin")
    run("ip", "netns", "add", "one")
    lonely = network("lonely", "cni0", "10.99.0.0/16")
    attached = turns = 0
    for line in sys.stdin:
        match line.split():
            case ["fill", size]:
                for number in range(attached, int(size)):
                    _join(number)
                answer: Any = (attached := int(size))
            case _:
                turns += 1
                conf = attachment(f"lonely{turns}", "one", 7000)
                up = timed(lambda: serving.add(lonely, conf))  # noqa: B023
                answer = up, timed(lambda: serving.delete(lonely, conf))  # noqa: B023
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


def _join(number: int) -> None:
    """One more that stays, with a port; without a default route, of which a namespace has one."""
    which = number // _ON_A_BRIDGE
    netns = f"crowd{number // _IN_A_NAMESPACE}"
    if number % _IN_A_NAMESPACE == 0:
        run("ip", "netns", "add", netns)
    plugins = json.loads(network(f"crowd{which}", f"cnic{which}", f"10.{20 + which}.0.0/16").raw)
    plugins["plugins"][0]["ipam"]["routes"] = []
    conf = attachment(f"crowd{number}", netns, 10000 + number, f"eth{number % _IN_A_NAMESPACE}")
    runtime("builtin").add(parse_list(json.dumps(plugins).encode()), conf)


if __name__ == "__main__":
    serve()
