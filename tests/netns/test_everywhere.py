"""Which addresses anybody on the machine has."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.hosts import Host

ASK = "from dockercni.linux import netns_state; print(*sorted(map(str, netns_state.addresses_everywhere())))"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_addresses_of_every_namespace() -> None:
    """Those count that a process lives in, and those that only a mount keeps; nothing of a namespace that is gone."""
    with Host() as host:
        for name, address in (("pinned", "192.0.2.7/24"), ("gone", "192.0.2.8/24"), ("a b", "2001:db8::9/64")):
            host.run("ip", "netns", "add", name)
            host.run("ip", "-netns", name, "address", "add", address, "dev", "lo")
        lives = host.popen("ip", "netns", "exec", "gone", "sleep", "600")
        host.wait_until(lambda: host.run("ip", "netns", "pids", "gone").stdout, 10, "a process")
        host.run("ip", "netns", "delete", "gone")
        asked = (sys.executable, "-c", ASK)
        env = {"PYTHONPATH": str(Path(__file__).parents[2])}
        found = host.run(*asked, env=env).stdout.split()
        assert {"192.0.2.7", "192.0.2.8", "2001:db8::9"} <= set(found)
        lives.kill()
        host.run("ip", "netns", "delete", "pinned")
        host.wait_until(
            lambda: not {"192.0.2.7", "192.0.2.8"} & set(host.run(*asked, env=env).stdout.split()), 10, "end"
        )
