"""Whole hosts in containers: Debian with systemd as process 1, and an engine of its own."""

from tests.machines.debian import RELEASES, Release, release
from tests.machines.machine import Machine

__all__ = ["RELEASES", "Machine", "Release", "release"]
