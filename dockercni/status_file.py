"""What the daemon's heartbeat file says, and how old it may be. Quick to import: health checks run often.

Its age is by the monotonic clock, which changes of the time of day do not affect.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from dockercni.files import read_regular

FILE: Final = "status.json"
_MAX_BYTES: Final = 16 << 20
BEAT: Final = 10.0  # seconds
FRESH: Final = 3 * BEAT  # seconds: an older beat is more than a moment's delay
_MAX_REASON: Final = 2000  # characters of a reason


class Failed(msgspec.Struct, frozen=True):
    """One thing that failed: an ADD, a DEL, ..., or a run as a whole ("look")."""

    verb: str
    network: str
    ifname: str
    reason: str

    @property
    def slot(self) -> tuple[str, str, str]:
        """What failed, without the reason."""
        return self.verb, self.network, self.ifname


class Failing(msgspec.Struct, frozen=True):
    """A container that does not have what it should have: since when, how often in a row, in which parts.

    `next` is the moment of the next try by the monotonic clock, 0 where none is due.
    """

    container: str
    parts: tuple[Failed, ...]
    since: str = ""
    times: int = 1
    next: float = 0.0

    @property
    def reason(self) -> str:
        """Of all parts."""
        return "; ".join(one.reason for one in self.parts)

    @property
    def retry_in(self) -> float | None:
        """Seconds until the next try; None if something has to be changed first."""
        return max(0.0, self.next - time.monotonic()) if self.next else None


class DaemonStatus(msgspec.Struct, frozen=True):
    """What stands in the file. Moments are for people, `beat` is monotonic; `connected` is empty without an engine."""

    pid: int
    started: str
    beat: float
    connected: str = ""
    lost: str = ""  # why there is no engine
    reconciled_all: str = msgspec.field(default="", name="looked_at_all")
    busy: tuple[str, ...] = ()
    failing: Mapping[str, Failing] = {}
    off: Mapping[str, str] = {}  # what cannot work here, and why: "early watch", "hold"
    late: int = 0  # entrypoints that began without the network that they were to be held for
    down: Mapping[str, str] = {}  # threads that have ended and are not yet started anew, and why
    schema: int = 1

    @property
    def age(self) -> float:
        """Seconds since it was written."""
        return time.monotonic() - self.beat

    @property
    def sentence(self) -> str:
        """One line for people."""
        if not self.connected:
            return f"no engine: {self.lost}" if self.lost else "waits for the engine"
        if not self.failing:
            return f"serves; all containers reconciled at {self.reconciled_all}" if self.reconciled_all else "connected"
        first = next(iter(self.failing.values()))
        more = f" (and {len(self.failing) - 1} more)" if len(self.failing) > 1 else ""
        return f"failing: {first.container}: {first.reason}{more}".replace("failing: : ", "failing: ")

    @property
    def fresh(self) -> bool:
        """Whether the daemon wrote it recently."""
        return 0 <= self.age < FRESH


def bounded(text: str) -> str:
    """The text in at most _MAX_REASON characters that can be encoded: containers and plugins may say anything."""
    whole = text.encode("utf-8", "backslashreplace").decode()
    return whole if len(whole) <= _MAX_REASON else f"{whole[:_MAX_REASON]}..."


def now() -> str:
    """This moment, for people."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def read(run_dir: Path) -> DaemonStatus | None:
    """The last beat; None if there is none that can be read."""
    try:
        return msgspec.json.decode(read_regular(run_dir / FILE, _MAX_BYTES), type=DaemonStatus)
    except (OSError, msgspec.DecodeError):
        return None
