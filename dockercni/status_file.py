"""What the daemon's heartbeat file says, and how old it may be. Quick to import: health checks run often.

Its age is told by the monotonic clock, which no change of the time of day moves.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from dockercni.files import read_regular

FILE: Final = "status.json"
_MOST: Final = 16 << 20  # bytes
BEAT: Final = 10.0  # seconds
FRESH: Final = 3 * BEAT  # seconds: older than that, it is not the daemon's fault of a moment


class Failed(msgspec.Struct, frozen=True):
    """One thing that failed: an ADD, a DEL, ..., or a whole look ("look")."""

    verb: str
    network: str
    ifname: str
    reason: str

    @property
    def slot(self) -> tuple[str, str, str]:
        """What it is that failed, for whatever reason."""
        return self.verb, self.network, self.ifname


class Failing(msgspec.Struct, frozen=True):
    """A container that does not get what it should have: since when, for how many times in a row, in which parts.

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
        """Seconds until the next try; None where somebody has to change something first."""
        return max(0.0, self.next - time.monotonic()) if self.next else None


class DaemonStatus(msgspec.Struct, frozen=True):
    """What stands in the file. Moments are for people, `beat` is monotonic; `connected` is empty without an engine."""

    pid: int
    started: str
    beat: float
    connected: str = ""
    lost: str = ""  # why there is no engine
    looked_at_all: str = ""
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
        """What it says, in one line for people."""
        if not self.connected:
            return f"no engine: {self.lost}" if self.lost else "waits for the engine"
        if not self.failing:
            return f"serves; all containers looked at {self.looked_at_all}" if self.looked_at_all else "connected"
        first = next(iter(self.failing.values()))
        more = f" (and {len(self.failing) - 1} more)" if len(self.failing) > 1 else ""
        return f"failing: {first.container}: {first.reason}{more}".replace("failing: : ", "failing: ")

    @property
    def fresh(self) -> bool:
        """Whether the daemon has written it lately."""
        return 0 <= self.age < FRESH


def read(run_dir: Path) -> DaemonStatus | None:
    """The last beat; None if there is none that can be read."""
    try:
        return msgspec.json.decode(read_regular(run_dir / FILE, _MOST), type=DaemonStatus)
    except (OSError, msgspec.DecodeError):
        return None
