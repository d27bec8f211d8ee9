"""`python -m tests.chaos.soak --cycles 5000`: containers come and go, and the daemon stays as it was."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.chaos.vitals import Vitals, vitals
from tests.chaos.wanted import Wanted, configure
from tests.engine.daemons import start_daemon
from tests.hosts import Host, import_image, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

EVERY = 100
PARALLEL = 4
WARM = 200  # cycles until caches are full and the allocator has what it needs
MORE_KIB = 8 * 1024  # that resident memory may grow by after that; the rest may not grow at all
WANTED = [Wanted(("alpha",), (8000 + number,)) for number in range(PARALLEL)]


def soak(cycles: int, every: int = EVERY) -> Iterator[tuple[int, Vitals, float]]:
    """Run and remove so many containers; after every so many tell the daemon's vitals, when nothing is attached."""
    with Host() as host, ThreadPoolExecutor(PARALLEL) as pool:
        host.start_engine()
        import_image(host)
        configure(host)
        daemon = start_daemon(host)
        daemon.wait_event("ready")
        began = time.monotonic()
        for done in range(0, cycles, every):
            shares = [(host, number, range(done + number, done + every, PARALLEL)) for number in range(PARALLEL)]
            list(pool.map(_cycles, shares))
            wait_until(lambda: vitals(host, daemon.program.pid).leases == 0, 60, "all leases back", daemon.program.text)
            wait_until(lambda: vitals(host, daemon.program.pid).mounts == 0, 60, "all pins gone", daemon.program.text)
            yield done + every, vitals(host, daemon.program.pid), time.monotonic() - began


def grown(first: Vitals, last: Vitals) -> list[str]:
    """What has grown between two moments, and may not."""
    found = []
    if last.resident > first.resident + MORE_KIB:
        found.append(f"resident memory: {first.resident} -> {last.resident} KiB")
    for name in ("descriptors", "threads", "mounts", "leases", "files"):
        before, after = getattr(first, name), getattr(last, name)
        # a look may just be under way, at a start that has two descriptors of its own
        if after > before + {"descriptors": 4, "threads": 2}.get(name, 0):
            found.append(f"{name}: {before} -> {after}")
    return found


def _cycles(share: tuple[Host, int, range]) -> None:
    host, number, cycles = share
    for cycle in cycles:
        name = f"s{cycle}"
        WANTED[number].run(host, name)
        host.docker("rm", "--force", name)


def main() -> int:
    """Print the vitals every EVERY cycles; 1 if anything has grown."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak")
    parser.add_argument("--cycles", type=int, default=5000)
    said = parser.parse_args()
    seen: list[tuple[int, Vitals]] = []
    for done, now, seconds in soak(said.cycles):
        seen.append((done, now))
        sys.stdout.write(f"{done:6} cycles {seconds:6.0f} s: {now}\n")
        sys.stdout.flush()
    warm = next((now for done, now in seen if done >= WARM), seen[0][1])
    problems = grown(warm, seen[-1][1])
    sys.stdout.write("\n".join(problems) + "\n" if problems else "flat\n")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
