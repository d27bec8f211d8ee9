"""What the daemon says of itself. Quick to import: health checks run often."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockercni import status_file as pulses
from dockercni.reconcile.locks import Locks

if TYPE_CHECKING:
    from dockercni.settings import Settings
    from dockercni.status_file import DaemonStatus


def daemon(settings: Settings) -> tuple[bool, str, DaemonStatus | None]:
    """Whether a daemon lives, in words too, and its last heartbeat."""
    if not Locks(settings.run_dir, settings.plugin_timeout).daemon_lives():
        return False, f"no daemon runs (nobody holds {settings.run_dir / 'daemon.lock'})", None
    pulse = pulses.read(settings.run_dir)
    if pulse is None:
        return False, f"a daemon runs, but has no heartbeat in {settings.run_dir / pulses.FILE} yet", None
    words = f"process {pulse.pid} since {pulse.started}, heartbeat {pulse.age:.0f} s ago"
    if not pulse.fresh:
        return False, f"the daemon hangs: {words}", pulse
    if pulse.down:
        ended = "; ".join(f"thread {thread} has ended ({reason})" for thread, reason in pulse.down.items())
        return False, f"the daemon starts a part of it anew: {ended}: {words}", pulse
    return True, f"the daemon runs: {words}", pulse
