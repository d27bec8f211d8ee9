"""How log events look: readable on a terminal and in the journal, JSON otherwise; always stderr, always whole lines."""

import contextlib
import logging
import os
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor

from dockercni.render import escape

Level = Literal["debug", "info", "warning", "error", "critical"]
Style = Literal["auto", "console", "json"]

_SCHEMA = 1
_MAX_VALUE = 8192  # characters of one value: texts of plugins and containers may have any length
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # sd-daemon(3)
# The keys that people filter by come first, in this order, whatever order the call had.
_FIRST = ("container", "id", "network", "ifname", "plugin", "backend", "ms", "reason")


def configure(level: Level, style: Style) -> None:
    """Set structlog up for the whole process; may be called again, and then serves loggers that exist already."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    journal = style == "auto" and _is_journal()
    lines = _Lines(sys.stderr)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *([] if console else [structlog.processors.format_exc_info]),
            _bounded,
            *(_console() if console else _journal() if journal else _json()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,  # a cached logger would keep the level of the first call
    )
    # Logs of libraries (urllib3, docker) and Python's warnings become events like ours.
    root = logging.getLogger()
    if not any(isinstance(handler, _Foreign) for handler in root.handlers):
        root.addHandler(_Foreign())
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


class _Foreign(logging.Handler):
    """Hands records of the standard library's logging to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            reason = record.getMessage()
        except Exception:  # noqa: BLE001  a malformed record must not fail the work that logs it
            reason = str(record.msg)
        extra = {"exc_info": record.exc_info} if record.exc_info else {}
        structlog.get_logger().log(record.levelno, "library", logger=record.name, reason=reason, **extra)


def _is_journal() -> bool:
    """Whether stderr leads to systemd's journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _journal() -> list[Processor]:
    """The event and its values in a line, with a priority for the journal, which adds the time itself."""

    def render(_logger: Any, _method: str, event: EventDict) -> str:
        words = [f"<{_PRIORITIES[event.pop('level')]}>{escape(str(event.pop('event')))}"]
        return " ".join([*words, *(f"{escape(key)}={_word(value)}" for key, value in _ordered(event, _FIRST).items())])

    return [render]


def _word(value: Any) -> str:
    text = escape(",".join(map(str, value)) if isinstance(value, list | tuple) else str(value))
    return f'"{text}"' if not text or " " in text else text


def _json() -> list[Processor]:
    def stamp(_logger: Any, _method: str, event: EventDict) -> EventDict:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return _ordered(
            {**event, "schema": _SCHEMA, "timestamp": now}, ("schema", "timestamp", "level", "event", *_FIRST)
        )

    return [stamp, structlog.processors.JSONRenderer(default=str)]


def _console() -> list[Processor]:
    def stamp(_logger: Any, _method: str, event: EventDict) -> EventDict:
        now = datetime.now(UTC).astimezone().time().isoformat(timespec="milliseconds")
        printable = {escape(key): _printable(key, value) for key, value in event.items()}
        return _ordered({**printable, "timestamp": now}, ("timestamp", "level", "event", *_FIRST))

    renderer = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR"),
        sort_keys=False,
        exception_formatter=_write_exception,  # structlog's own would use rich wherever that happens to be installed
    )
    return [stamp, renderer]


def _bounded(_logger: Any, _method: str, event: EventDict) -> EventDict:
    if trace := event.pop("exception", ""):
        event["exception"] = trace[-2 * _MAX_VALUE :]  # the exception itself stands at the end
    return {
        key[:_MAX_VALUE]: value if key in {"exc_info", "exception"} else cut(value, _MAX_VALUE)
        for key, value in event.items()
    }


def cut(value: Any, most: int) -> Any:
    """A value whose text has about `most` characters at most; a longer one says how much was left out."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else str(value)
    return f"{text[:most]}... ({len(text) - most} more characters)" if len(text) > most else value


def _ordered(event: EventDict, first: tuple[str, ...]) -> EventDict:
    return {key: event[key] for key in (*first, *event) if key in event}


def _printable(key: str, value: Any) -> Any:
    # Most values may contain text from containers and plugins, and a terminal obeys control characters.
    if key == "exc_info" or value is None or isinstance(value, bool | int | float):
        return value
    return escape(str(value))


def _write_exception(out: TextIO, exc_info: ExcInfo) -> None:
    # Indented, so that a message with line breaks cannot pass for other events.
    for part in traceback.format_exception(*exc_info):
        out.writelines(f"\n    {escape(cut(line, _MAX_VALUE))}" for line in part.splitlines())


class _Lines:
    """The end of the chain: one write for each line, one line at a time.

    If the reader of the log is gone, that must not fail the work that is being logged.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def msg(self, line: str) -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):  # ValueError: the stream was closed
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = msg
