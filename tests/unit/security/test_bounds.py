"""What others say has no bounds; what we do with it has."""

from __future__ import annotations

import io
import json
import sys
import time
from typing import TYPE_CHECKING

import pytest
import structlog

from dockercni import logs, status_file
from dockercni.daemon.heartbeat import Heartbeat
from dockercni.daemon.report import Reporter
from dockercni.errors import LabelError
from dockercni.model import Container
from dockercni.reconcile import labels
from dockercni.reconcile.outcome import Outcome, Step

if TYPE_CHECKING:
    from pathlib import Path

MEGABYTE = 1 << 20


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("dockercni.networks", "a," * (MEGABYTE // 2)),
        ("dockercni.networks", "a" * MEGABYTE + "@" + "b" * MEGABYTE),
        ("dockercni.ip", "10.0.0.1," * (MEGABYTE // 9)),
        ("dockercni.ip", "1" * MEGABYTE),
        ("dockercni.mac", "02:" * (MEGABYTE // 3)),
        ("dockercni.args", "a;" * (MEGABYTE // 2)),
        ("dockercni.hold", "9" * MEGABYTE + "s"),
        ("dockercni.enable", "t" * MEGABYTE),
        ("dockercni." + "x" * MEGABYTE, ""),
        ("dockercni.ip." + "x" * MEGABYTE, "10.0.0.1/24"),
    ],
)
def test_labels_of_a_megabyte(label: str, value: str) -> None:
    """A label of a megabyte is refused within moments, in a line that fits on a screen."""
    began = time.monotonic()
    with pytest.raises(LabelError) as caught:
        labels.requests(Container("0" * 64, "web", True, labels={label: value}))
    assert time.monotonic() - began < 5
    assert len(str(caught.value)) < 1000


def test_as_many_networks_as_anyone_needs() -> None:
    """Sixty-four networks can be asked for, one more is refused."""
    asked = [f"n{number}" for number in range(65)]

    def count(names: list[str]) -> int:
        found = labels.requests(Container("0" * 64, "web", True, labels={"dockercni.networks": ",".join(names)}))
        assert isinstance(found, tuple)
        return len(found)

    assert count(asked[:64]) == 64
    with pytest.raises(LabelError, match="more than 64 networks"):
        count(asked)


@pytest.mark.parametrize("style", ["json", "console"])
def test_log_lines(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, style: logs.Style) -> None:
    """What a plugin says makes no endless line, and the end of a traceback, which says what it was, is kept."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    request.addfinalizer(structlog.reset_defaults)
    logs.configure("info", style)
    structlog.get_logger().info("x" * MEGABYTE, reason="y" * MEGABYTE, addresses=["z" * MEGABYTE])
    assert len(stream.getvalue()) < 40_000
    assert "more characters" in stream.getvalue()
    try:
        _fail("v" * MEGABYTE + " the end")
    except ValueError:
        structlog.get_logger().exception("failed")
    assert len(stream.getvalue()) < 80_000
    if style == "json":
        assert json.loads(stream.getvalue().splitlines()[1])["exception"].endswith(" the end")


def _fail(words: str) -> None:
    raise ValueError(words)


def test_the_heartbeat(tmp_path: Path) -> None:
    """The heartbeat goes on with words of any length, and with what is no text."""
    reporter = Reporter()
    heart = Heartbeat(tmp_path, tuple, lambda: reporter.failing({}))
    for number in range(3):
        failed = Step("ADD", error="\ud800" + "x" * MEGABYTE)
        reporter.reconciled(Outcome(str(number), "web\udcff", running=True, attachments=0, steps=(failed,)))
    heart.lost("\udcff" + "x" * MEGABYTE)
    heart._write()
    assert (tmp_path / status_file.FILE).stat().st_size < 20_000
    found = status_file.read(tmp_path)
    assert found
    assert found.failing["0"].container == "web\\udcff"
