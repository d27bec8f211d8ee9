"""Does the daemon live? Its lock and its status file tell. Quick to import: health checks run often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dockercni import status_file
from dockercni.reconcile.locks import Locks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockercni.settings import Settings
    from dockercni.status_file import DaemonStatus, Failing


@dataclass(frozen=True, slots=True)
class Liveness:
    """`alive` is the answer, `sentence` gives it with its reason; `status` is what the daemon last wrote, if any.

    `locked` says whether any daemon's process is there, in whatever state.
    """

    alive: bool
    sentence: str
    status: DaemonStatus | None = None
    locked: bool = True

    @property
    def failing(self) -> Mapping[str, Failing]:
        """By container id, what the daemon has tried in vain; empty unless it lives, as old failures may be over."""
        return self.status.failing if self.status and self.alive else {}


def of_daemon(settings: Settings) -> Liveness:
    """A daemon lives if it holds its lock, has written its status lately, and all of its threads run."""
    if not Locks(settings.run_dir, settings.plugin_timeout).daemon_lives():
        return Liveness(False, f"no daemon runs ({settings.run_dir / 'daemon.lock'} is not locked)", locked=False)
    status = status_file.read(settings.run_dir)
    if status is None:
        return Liveness(False, f"a daemon runs, but has not written {settings.run_dir / status_file.FILE} yet")
    process = f"process {status.pid} since {status.started}, heartbeat {status.age:.0f} s ago"
    if not status.fresh:
        return Liveness(False, f"the daemon hangs: {process}", status)
    if status.down:
        ended = "; ".join(f"thread {thread} has ended ({reason})" for thread, reason in status.down.items())
        return Liveness(False, f"the daemon restarts a part of itself: {ended}: {process}", status)
    return Liveness(True, f"the daemon runs: {process}", status)
