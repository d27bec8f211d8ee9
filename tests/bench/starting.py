"""Every way of starting: the share that was ready, how long that took, how long they were held."""

from __future__ import annotations

import statistics

from tests.bench.samples import Figure, Report
from tests.engine import restarting
from tests.engine.daemons import start_daemon
from tests.engine.rows import ROWS, Row
from tests.hosts import Host, import_image


def every_row(report: Report, runs: int) -> None:
    """Rows of tests.engine.rows, in a host with an engine each."""
    for row in ROWS:
        _row(report, row)
    with Host() as host:
        host.start_engine()
        import_image(host)
        ready = restarting.ready(host, lambda: start_daemon(host), 20)
    report.figures.append(Figure("restarts and a kill -9: ready of 20", 100 * ready / 20, "%", 100, least=True))


def _row(report: Report, row: Row) -> None:
    with Host() as host:
        host.start_engine()
        import_image(host)
        daemon = start_daemon(host, *row.prepare(host))
        daemon.wait_event("ready")
        ready, count = row.start(host)
        ends = [event for event in daemon.log() if event["event"] == "released"]
    report.figures.append(Figure(f"{row.name}: ready of {count}", 100 * ready / count, "%", 100, least=True))
    report.add("namespace to ready", row.name, *(event["ready_ms"] for event in ends))
    report.add("hold", row.name, *(event["ms"] for event in ends))
    if row.name.startswith("native, one by one"):
        held = [event["ms"] for event in ends]
        report.figures.append(Figure(f"{row.name}: hold, p50", statistics.median(held), "ms", 1))
        report.figures.append(Figure(f"{row.name}: hold, p99", statistics.quantiles(held, n=100)[-1], "ms", 1000))
