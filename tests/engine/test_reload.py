"""SIGHUP: the daemon goes on with the settings that the file has now."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.engine.test_commands import NET, network
from tests.hosts import IMAGE, Host

if TYPE_CHECKING:
    from tests.engine.daemons import Daemon

FILE = "/etc/dockercni/dockercni.toml"


def reload(log: Daemon) -> int:
    """Send it, and return how much of the log was there before."""
    before = len(log.log())
    log.program.process.send_signal(signal.SIGHUP)
    return before


def test_the_file_is_read_again(host: Host, daemon: Callable[..., Daemon]) -> None:
    """What can change does at once, without a container being touched; what cannot is said."""
    host.write(f"{NET}/10-lan.conflist", network("lan", "10.1.0.0/24"))
    host.write(f"{NET}/20-wan.conflist", network("wan", "10.2.0.0/24"))
    host.write(FILE, "workers = 4\n")
    log = daemon()
    host.docker("run", "--detach", "--name=before", "--network=none", IMAGE)
    log.wait_event("ADD", container="before", network="lan")
    host.write(FILE, 'workers = 5\ndefault-network = "wan"\nstate-dir = "/var/lib/elsewhere"\n')
    mark = reload(log)
    log.wait_event("setting changed", after=mark, key="default-network", value="wan", before="")
    log.wait_event("setting kept", after=mark, key="workers", value="4", wanted="5")
    log.wait_event("setting kept", after=mark, key="state-dir", value="/var/lib/dockercni")
    log.wait_event("drift", after=mark, container="before")
    host.docker("run", "--detach", "--name=after", "--network=none", IMAGE)
    log.wait_event("ADD", after=mark, container="after", network="wan")
    assert not host.path("/var/lib/elsewhere").exists()
    events = [event["event"] for event in log.log()[mark:]]
    assert "DEL" not in events


def test_a_broken_file_changes_nothing(host: Host, daemon: Callable[..., Daemon]) -> None:
    """A file that cannot be used is logged with its line, the old settings stay, and so does the daemon."""
    host.write(FILE, 'attach = "labelled"\n')
    log = daemon()
    host.write(FILE, 'attach = "all"\nworkers = "many"\n')
    mark = reload(log)
    said = log.wait_event("settings not reloaded", after=mark)
    assert said["reason"].startswith(f"{FILE}: workers = 'many': must be a whole number")
    log.wait_event("reconciling all", after=mark, reason="SIGHUP")
    host.docker("run", "--detach", "--name=web", "--network=none", IMAGE)
    host.docker("run", "--detach", "--name=mine", "--network=none", "--label=dockercni.enable=true", IMAGE)
    log.wait_event("ADD", after=mark, container="mine")
    assert not [event for event in log.log()[mark:] if event.get("container") == "web"]
    host.write(FILE, 'attach = "all"\n')
    mark = reload(log)
    log.wait_event("ADD", after=mark, container="web")


def test_the_log_level_changes(host: Host, daemon: Callable[..., Daemon]) -> None:
    """From the next event on the log has the new level."""
    log = daemon()
    host.write(FILE, 'log-level = "error"\n')
    before = reload(log)
    changed = log.wait_event("setting changed", after=before, key="log-level")
    assert changed["value"] == "error"
    host.docker("run", "--detach", "--name=web", "--network=none", IMAGE)
    pulse = "/run/dockercni/status.json"
    host.wait_until(lambda: list(host.path("/var/lib/cni/results").glob("*eth0")), 20, "the attachment")
    host.wait_until(lambda: not json.loads(host.read(pulse))["busy"], 20, "the end of the look")
    assert "ADD" not in [event["event"] for event in log.log()[before:]]
