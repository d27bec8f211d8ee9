"""Words and moments as they are written into the heartbeat file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_MOST: Final = 2000  # characters of a reason


def bounded(words: str) -> str:
    """Words that can be written, and not endless: containers and plugins have a say in them."""
    whole = words.encode("utf-8", "backslashreplace").decode()
    return whole if len(whole) <= _MOST else f"{whole[:_MOST]}..."


def now() -> str:
    """This moment, for people."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
