"""Containers that start with the engine are ready at their first instruction, though it listens long before it answers.

What containerd's image store keeps is not in the engine's files; here these are hidden from the daemon instead.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.chaos.proxy import URL, Proxy
from tests.engine.probes import PROBE
from tests.hosts import IMAGE, wait_until

if TYPE_CHECKING:
    from tests.engine.daemons import Start
    from tests.hosts import Host

STATE = "/var/lib/dockercni"
HIDDEN = "/run/private/root"
LATE = "can't find device"
LABELS = {
    "plain": "com.docker.compose.service=web",
    "asking": "dockercni.ip=10.22.3.4",
    "holding": "dockercni.hold=30s",
}
FLAGS = (f"--docker-host={URL}", "--hold=30s")


@pytest.mark.parametrize("known", [True, False], ids=["image known", "image unknown"])
def test_engine_that_does_not_answer_yet(host: Host, daemon: Start, known: bool) -> None:
    """With labels that mean nothing to us, or on an image that we know, a container does not wait for the engine at
    all; else it is held until the engine answers."""
    with Proxy(host) as proxy:
        first = daemon(*FLAGS)
        for name, label in LABELS.items():
            command = f"{' '.join(PROBE)}; exec sleep 86400"
            flags = ("--restart=always", "--network=none", f"--label={label}")
            host.docker("run", "--detach", f"--name={name}", *flags, IMAGE, "sh", "-c", command)
        _wait_lives(host, list(LABELS), 1)
        first.wait_event("released", container="holding")
        first.stop()
        _hide_images(host, known=known)
        host.stop_engine()
        proxy.answering.clear()
        second = daemon(*FLAGS, wait=False)
        second.wait_event("started")
        host.start_engine()
        ready = list(LABELS) if known else ["plain"]
        _wait_lives(host, ready, 2)
        if not known:
            assert [_lives(host, name) for name in ("asking", "holding")] == [1, 1]
        proxy.answering.set()
        _wait_lives(host, list(LABELS), 2)
        second.wait_event("ready")
    said = {name: _said(host, name) for name in LABELS}
    assert not [name for name, text in said.items() if LATE in text]
    assert said["asking"].count("10.22.3.4/16") == 2


def _hide_images(host: Host, *, known: bool) -> None:
    """Have the engine that the daemon remembers keep its images elsewhere, and let it know them, or not."""
    host.run("mkdir", "-p", HIDDEN)
    host.run("ln", "-sfn", "/var/lib/docker/containers", f"{HIDDEN}/containers")
    facts = json.loads(host.read(f"{STATE}/engine.json"))
    facts["value"]["root"] = HIDDEN
    host.write(f"{STATE}/engine.json", json.dumps(facts))
    host.path(f"{STATE}/images.json").unlink(missing_ok=True)  # which containerd's store has been asked for already
    if known:
        image = host.docker("image", "inspect", "--format={{.Id}}", IMAGE)
        host.write(f"{STATE}/images.json", json.dumps({"schema": 1, "value": {image: {}}}))


def _lives(host: Host, name: str) -> int:
    return len(re.findall(f"inet |{LATE}", _said(host, name)))


def _wait_lives(host: Host, names: list[str], lives: int) -> None:
    wait_until(
        lambda: all(_lives(host, name) == lives for name in names),
        40,
        f"{lives} lives",
        lambda: {name: _said(host, name) for name in names},
    )


def _said(host: Host, name: str) -> str:
    done = host.run("docker", "logs", name)
    return done.stdout + done.stderr
