"""Does firewalld run? Then the reference firewall plugin uses it, and makes no rules of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dockercni.linux import processes

_PID: Final = Path("/run/firewalld.pid")


def runs() -> bool:
    """Whether its process lives. Its pid file alone proves nothing, because it may be left over."""
    try:
        pid = int(_PID.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return False
    return processes.start_time(pid) is not None
