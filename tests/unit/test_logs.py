"""dockercni.logs: what a log line looks like, and what it never does."""

import io
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from dockercni.logs import Level, Style, _Foreign, configure


class _Stream(io.StringIO):
    """A stderr that remembers each single write."""

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__()
        self.writes: list[str] = []
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)


@pytest.fixture(autouse=True)
def _structlog_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("NO_COLOR", raising=False)
    yield
    structlog.reset_defaults()


def _configured(
    monkeypatch: pytest.MonkeyPatch, style: Style, *, level: Level = "info", terminal: bool = False
) -> _Stream:
    stream = _Stream(terminal=terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    configure(level, style)
    return stream


def _fail(text: str) -> None:
    raise ValueError(text)


def test_json_lines_have_the_conventions_keys_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schema, time, level and event, then the keys of the conventions in their order, then the call's own."""
    stream = _configured(monkeypatch, "json")
    structlog.get_logger().info(
        "attached",
        own=1,
        reason="r",
        ms=3.1,
        backend="exec",
        plugin="p",
        ifname="eth0",
        network="n",
        id="i",
        container="c",
    )
    line = json.loads(stream.getvalue())
    assert list(line) == [
        *("schema", "timestamp", "level", "event"),
        *("container", "id", "network", "ifname", "plugin", "backend", "ms", "reason"),
        "own",
    ]
    assert (line["schema"], line["level"], line["event"], line["ms"]) == (1, "info", "attached", 3.1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])


def test_json_values_of_any_type_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path or an exception as a value is written as it would be printed."""
    stream = _configured(monkeypatch, "json")
    structlog.get_logger().info("x", path=Path("/a"), error=OSError("gone"))
    line = json.loads(stream.getvalue())
    assert (line["path"], line["error"]) == ("/a", "gone")


def test_json_exceptions_are_on_the_same_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback is a key of its event, so that one line stays one event."""
    stream = _configured(monkeypatch, "json")
    try:
        _fail("two\nlines")
    except ValueError:
        structlog.get_logger().exception("failed", container="web")
    assert stream.getvalue().count("\n") == 1
    line = json.loads(stream.getvalue())
    assert line["level"] == "error"
    assert line["exception"].endswith("ValueError: two\nlines")


def test_console_lines_are_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time, level, event, key=value, without colours where there is no terminal."""
    stream = _configured(monkeypatch, "console")
    structlog.get_logger().warning("attached", own=1, network="lan", container="web", reason="it was down")
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} \[warning *\] attached +container=web network=lan reason='it was down' own=1\n",
        stream.getvalue(),
    )


FORMATS = [
    ("auto", True, "console"),
    ("auto", False, "json"),
    ("console", False, "console"),
    ("json", True, "json"),
]


@pytest.mark.parametrize(("style", "terminal", "got"), FORMATS)
def test_auto_follows_the_terminal(monkeypatch: pytest.MonkeyPatch, style: Style, terminal: bool, got: str) -> None:
    """auto is console on a terminal and JSON elsewhere; the other two are what they say."""
    stream = _configured(monkeypatch, style, terminal=terminal)
    structlog.get_logger().info("x")
    assert ("json" if stream.getvalue().startswith("{") else "console") == got


@pytest.mark.parametrize(
    ("terminal", "no_color", "coloured"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_colours_are_for_terminals_that_want_them(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, no_color: str, coloured: bool
) -> None:
    """Colours need a terminal, and NO_COLOR switches them off."""
    monkeypatch.setenv("NO_COLOR", no_color)
    stream = _configured(monkeypatch, "console", terminal=terminal)
    structlog.get_logger().info("x")
    assert ("\x1b[" in stream.getvalue()) is coloured


def test_console_escapes_what_a_terminal_would_obey(monkeypatch: pytest.MonkeyPatch) -> None:
    """Controls in the event, in keys, in values of any type and in tracebacks are shown, and forge no lines."""
    stream = _configured(monkeypatch, "console")
    try:
        _fail("bad\x1b[2J\n12:00:00.000 [info     ] forged")
    except ValueError:
        structlog.get_logger().exception("e\x1b\nv", **{"k\x1b": "v\x1b\u202e"}, items=["i\x1b"], path=Path("/\x1b"))
    text = stream.getvalue()
    assert text.replace("\n", "").isprintable()
    assert all(line.startswith("    ") for line in text.splitlines()[1:])
    assert "forged" in text


@pytest.mark.parametrize("style", ["console", "json"])
def test_context_is_part_of_every_line(monkeypatch: pytest.MonkeyPatch, style: Style) -> None:
    """What a lane binds for its container appears in events of code that knows no containers."""
    stream = _configured(monkeypatch, style)
    with structlog.contextvars.bound_contextvars(container="web"):
        structlog.get_logger().info("x")
    structlog.get_logger().info("y")
    first, second = stream.getvalue().splitlines()
    assert "web" in first
    assert "web" not in second


def test_the_level_can_change_under_existing_loggers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events below the level are dropped, and a new level serves loggers that were used before."""
    logger = structlog.get_logger()
    stream = _configured(monkeypatch, "json", level="warning")
    logger.info("dropped")
    logger.warning("kept")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["kept"]
    stream = _configured(monkeypatch, "json", level="debug")
    logger.debug("now kept")
    assert json.loads(stream.getvalue())["event"] == "now kept"


@pytest.mark.parametrize("style", ["console", "json"])
def test_each_event_is_one_write(monkeypatch: pytest.MonkeyPatch, style: Style) -> None:
    """Events of many threads are whole lines, each written at once."""
    stream = _configured(monkeypatch, style)
    logger = structlog.get_logger()

    def work(number: int) -> None:
        for _ in range(50):
            logger.info("event", number=number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stream.writes) == 400
    assert all(text.endswith("\n") and text.count("\n") == 1 for text in stream.writes)


@pytest.mark.parametrize(
    "failure", [BrokenPipeError(), OSError(28, "No space left on device"), ValueError("closed file")]
)
def test_a_log_that_cannot_be_written_fails_nothing(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    """Work goes on when the reader of its log is gone, the disk full or the stream closed."""
    stream = _configured(monkeypatch, "json")

    def write(_text: str) -> int:
        raise failure

    monkeypatch.setattr(stream, "write", write)
    structlog.get_logger().info("lost")
    monkeypatch.undo()
    structlog.get_logger().info("heard")
    assert json.loads(stream.getvalue())["event"] == "heard"


def test_what_libraries_log_are_events_like_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings of urllib3 or docker come in our shape, with the library's name; their chatter does not come at all."""
    stream = _configured(monkeypatch, "json")
    library = logging.getLogger("urllib3.util.retry")
    library.warning("Retrying %s", "GET")
    library.info("chatter")
    event = json.loads(stream.getvalue())
    assert (event["level"], event["event"], event["logger"]) == ("warning", "library", "urllib3.util.retry")
    assert event["reason"] == "Retrying GET"


def test_a_librarys_malformed_record_is_an_event_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message whose arguments do not fit is told as it is, and with its exception."""
    stream = _configured(monkeypatch, "json")
    try:
        _fail("inner")
    except ValueError:
        record = logging.LogRecord("docker", logging.ERROR, "x.py", 1, "%d things", ("no",), sys.exc_info())
    _Foreign().handle(record)  # not through the root logger: pytest's own handler there is not so forgiving
    event = json.loads(stream.getvalue())
    assert (event["reason"], event["level"]) == ("%d things", "error")
    assert "ValueError: inner" in event["exception"]


def test_configured_twice_says_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new level does not make libraries speak twice."""
    _configured(monkeypatch, "json")
    stream = _configured(monkeypatch, "json", level="error")
    logging.getLogger("docker").error("once")
    logging.getLogger("docker").warning("not at this level")
    assert [json.loads(line)["reason"] for line in stream.getvalue().splitlines()] == ["once"]


def test_lines_in_the_journal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where stderr is the journal's, a line has its priority, the event, and the values, the usual ones first."""
    with (tmp_path / "stream").open("w+") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        configure("info", "auto")
        structlog.get_logger().warning(
            "not\nnow", reason="a b", addresses=["10.1.0.5/16", "fd00::5/64"], container="web"
        )
        monkeypatch.setenv("JOURNAL_STREAM", "1:1")
        configure("info", "auto")
        structlog.get_logger().info("elsewhere")
        first, second = (tmp_path / "stream").read_text().splitlines()
    assert first == r'<4>not\nnow container=web reason="a b" addresses=10.1.0.5/16,fd00::5/64'
    assert second.startswith("{")
