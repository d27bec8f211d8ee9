"""SELinux enforces Debian's policy, on a boot of its own."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.emulated import SELINUX, Emulated, make_image
from tests.emulated.conftest import install
from tests.emulated.test_machine import LONG, explain, lives, ready, run
from tests.hosts import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def enforced(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    """A machine that enforces a policy, with this tree installed and its service running."""
    booted = Emulated(make_image(), tmp_path_factory.mktemp("enforced"), *SELINUX)
    try:
        install(booted, wheel, tmp_path_factory.mktemp("image"))
        yield booted
    finally:
        booted.close()


def test_enforced(enforced: Emulated) -> None:
    """While a policy is enforced, and confines them, containers have their network at their first instruction."""
    assert enforced.shell("cat /sys/fs/selinux/enforce") == "1"
    pid = enforced.shell("systemctl show --property=MainPID --value dockercni").strip()
    assert ":initrc_t:" in enforced.shell(f"cat /proc/{pid}/attr/current")
    enforced.put("/etc/docker/daemon.json", json.dumps({"selinux-enabled": True}))
    enforced.shell("systemctl restart docker; docker load --input /root/image.tar")
    for number in range(4):
        run(enforced, f"one{number}")
    wait_until(lambda: lives(enforced) == {1: 4}, LONG, "their lives", lambda: explain(enforced))
    assert ready(enforced) == 4, explain(enforced)
    held = "each held at its execve"
    wait_until(lambda: len(re.findall(r"^released .* reason=go ", enforced.journal(), re.MULTILINE)) == 4, 60, held)
    pid = enforced.docker("inspect", "--format={{.State.Pid}}", "one0")
    assert ":container_t:" in enforced.shell(f"cat /proc/{pid}/attr/current")
