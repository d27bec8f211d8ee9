"""One store of host-local, used by several processes at once, some of them the reference executable."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockercni.cni import CNIError, ExecRunner, PluginCall, parse_result
from dockercni.plugins.dispatch import Dispatch
from tests.differential.sharing import ROUNDS, conf, environment, worker
from tests.differential.side import EXECUTABLES
from tests.differential.twin import Twin
from tests.hosts import wait_until

PROCESSES = 6


def test_processes(tmp_path: Path) -> None:
    """No address is given twice and none is lost: at the end the files are exactly what the processes hold."""
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("forkserver")) as pool:
        results = list(pool.map(worker, range(PROCESSES), [str(tmp_path)] * PROCESSES))
    expected = {
        address: f"{container}\r\neth0".encode()
        for held in results
        for container, addresses in held.items()
        for address in addresses
    }
    assert sum(len(addresses) for held in results for addresses in held.values()) == len(expected)
    found = {path.name: path.read_bytes() for path in (tmp_path / "net").iterdir() if path.name[0] != "l"}
    assert found == expected


def test_killed_processes(tmp_path: Path) -> None:
    """Processes killed at any moment leave nothing that a DEL would not find."""
    root = str(Path(__file__).parents[2])
    running = [
        subprocess.Popen([sys.executable, "-m", "tests.differential.sharing", str(2 * number), str(tmp_path)], cwd=root)
        for number in range(3)
    ]
    wait_until((tmp_path / "net/last_reserved_ip.0").exists, 30, "the first lease")
    for process in running:
        sleep(0.02)
        process.kill()
        assert process.wait() < 0, "it was done before it was killed"
    runner = Dispatch(ExecRunner([EXECUTABLES]))
    config = conf(tmp_path)
    for number in range(3):
        for step in range(ROUNDS):
            made = PluginCall("host-local", "DEL", config, environment("DEL", f"p{2 * number}-{step}"), "builtin")
            runner.run(made)
    left = [path.name for path in (tmp_path / "net").iterdir() if path.name[0] != "l"]
    assert left == []


def test_one_after_the_other(tmp_path: Path) -> None:
    """What either has reserved, the other checks, counts as taken, and releases."""
    runner = Dispatch(ExecRunner([EXECUTABLES]))
    config = conf(tmp_path)

    def run(verb: str, container: str, backend: str) -> Any:
        return runner.run(PluginCall("host-local", verb, config, environment(verb, container), backend))

    given: list[str] = []
    for number in range(10):
        backends = ("builtin", "exec") if number % 2 else ("exec", "builtin")
        given.append(str(parse_result(run("ADD", f"c{number}", backends[0]), "1.0.0").ips[0].address))
        run("CHECK", f"c{number}", backends[1])
        if number % 3 == 0:
            run("DEL", f"c{number}", backends[1])
            with pytest.raises(CNIError, match="Failed to find address"):
                run("CHECK", f"c{number}", backends[0])
    assert given == [f"10.1.0.{number}/26" for number in range(2, 12)]


CONTAINERS = st.sampled_from(["c1", "c2", "c3"])
VERBS = st.sampled_from(["ADD", "ADD", "ADD", "DEL", "CHECK"])
LAST = st.integers(0, 15).map(lambda number: f"10.1.0.{number}")
RANGES = st.fixed_dictionaries(
    {"subnet": st.sampled_from(["10.1.0.0/29", "10.1.0.8/29", "10.1.0.0/28", "fd00::/125"])},
    optional={"rangeStart": LAST, "rangeEnd": LAST, "gateway": LAST},
)
STEPS = st.lists(st.tuples(VERBS, CONTAINERS, st.sampled_from(["eth0", "eth1"]), st.none() | LAST), max_size=12)


def test_anything() -> None:
    """Whatever the ranges and whatever is done with them, results, errors and files are the executable's."""
    with Twin(possible=("request-duplicate", "rollback", "leftover-order")) as twin:
        twin.container()
        numbers = iter(range(10**6))

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(st.lists(st.lists(RANGES, min_size=1, max_size=2), min_size=1, max_size=2), STEPS)
        def compare(ranges: list[list[dict[str, str]]], steps: list[tuple[str, str, str, str | None]]) -> None:
            twin.problems.clear()
            name = f"net{next(numbers)}"
            held: set[tuple[str, str]] = set()
            for verb, container, ifname, asked in steps:
                given_ = {**conf("", ranges=ranges), "name": name}
                if verb == "ADD" and (container, ifname) in held:
                    continue  # test_duplicates has what differs there on purpose
                args = f"IP={asked}" if asked and verb == "ADD" else ""
                outcome = twin.step(verb, given_, container=container, ifname=ifname, netns="c1", args=args)
                if verb == "ADD" and not outcome.failed:
                    held.add((container, ifname))
                if verb == "DEL":
                    held.discard((container, ifname))
            twin.compare_leases(f"/var/lib/cni/networks/{name}")
            assert not twin.problems, "\n".join(twin.problems)

        compare()
