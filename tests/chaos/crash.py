"""Running dockercni so that it dies before its n-th step, see shim/sitecustomize.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engine import daemons

if TYPE_CHECKING:
    import subprocess

    from tests.hosts import Host

SHIM = Path(__file__).with_name("shim")
LOG = "/run/private/steps.log"
SYNC = (sys.executable, "-m", "dockercni", "sync")


def environment(at: int = 0) -> dict[str, str]:
    """What makes a dockercni tell its steps, and die before that one."""
    own = daemons.environment()
    crash = {"CRASH_AT": str(at)} if at else {}
    return {**own, "PYTHONPATH": f"{SHIM}:{own['PYTHONPATH']}", "CRASH_LOG": LOG, **crash}


def sync(host: Host, at: int = 0) -> subprocess.CompletedProcess[str]:
    """One `dockercni sync` that dies before step `at`, if it has so many."""
    host.path(LOG).unlink(missing_ok=True)
    return host.run(*SYNC, check=False, timeout=110, env=environment(at))


def steps(host: Host) -> list[str]:
    """The steps that the last one has told."""
    return host.read(LOG).splitlines()
