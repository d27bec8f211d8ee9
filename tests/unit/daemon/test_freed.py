"""dockercni.daemon.freed: what may have become free is noticed as it happens; what fails does not wake itself."""

from __future__ import annotations

import errno
import json
import os
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from dockercni.daemon import freed as module
from dockercni.daemon.freed import Freed
from dockercni.linux import inotify
from dockercni.reconcile.networks import Networks
from tests.hosts import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WEB, DB = "a" * 64, "b" * 64


class World:
    """The directories, and the reasons that were told."""

    def __init__(self, place: Path) -> None:
        self.conf, self.leases, self.cache, self.bin = (place / name for name in ("conf", "leases", "cache", "bin"))
        self.failing: list[str] = []
        self.reasons: queue.Queue[str] = queue.Queue()
        self.conf.mkdir()
        self.configure("10.77.1.0/24")

    def configure(self, subnet: str) -> None:
        ipam = {"type": "host-local", "dataDir": str(self.leases), "ranges": [[{"subnet": subnet}]]}
        conf = {"cniVersion": "1.0.0", "name": "lan", "plugins": [{"type": "bridge", "ipam": ipam}]}
        path = self.conf / "10-lan.conflist"
        path.with_suffix(".new").write_text(json.dumps(conf))
        os.replace(path.with_suffix(".new"), path)

    def attach(self, container: str) -> None:
        (self.leases / "lan").mkdir(parents=True, exist_ok=True)
        (self.cache / "results").mkdir(parents=True, exist_ok=True)
        (self.cache / "results" / f"lan-{container}-eth0").write_text("{}")
        (self.leases / "lan" / f"10.77.1.{2 + (container == DB)}").write_text(f"{container}\r\neth0")

    def detach(self, container: str) -> None:
        (self.leases / "lan" / f"10.77.1.{2 + (container == DB)}").unlink()
        (self.cache / "results" / f"lan-{container}-eth0").unlink()

    def let_go(self) -> None:
        (self.leases / "lan" / "10.77.1.9").unlink()

    def told(self, seconds: float = 20) -> str:
        return self.reasons.get(timeout=seconds)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Directories that are watched, the first one there from the beginning, and one attachment that came later."""
    monkeypatch.setattr(module, "_PAUSE", 60.0)
    made = World(tmp_path)
    networks = Networks(made.conf, tmp_path / "state")
    watch = Freed(networks.catalogue, made.conf, made.cache, [made.bin])
    arguments: tuple[Any, ...] = (
        made.reasons.put,
        lambda: made.failing,
        lambda each: made.reasons.put(f"lost by {each}"),
    )
    threading.Thread(target=watch.run, args=arguments, daemon=True).start()
    assert made.told() == "free addresses and ports are watched from now on"
    made.attach(WEB)
    (made.leases / "lan" / "10.77.1.9").write_text("another\r\neth0")
    time.sleep(0.5)  # what is taken is seen when it has been quiet
    return made


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda world: world.detach(WEB), "something became free"),
        (World.let_go, "something became free"),
        (lambda world: (world.leases / "lan" / "10.77.1.2").unlink(), f"lost by {WEB}"),
        (lambda world: world.configure("10.77.1.0/16"), "the configuration changed"),
        (lambda world: (world.bin.mkdir(), (world.bin / "macvlan").touch()), "a plugin was installed"),
    ],
    ids=["DEL", "lease", "lost lease", "configuration", "plugin"],
)
def test_it_is_noticed(world: World, change: Callable[[World], object], reason: str) -> None:
    """An attachment or a lease that goes, another configuration, a new plugin: each may be what somebody waits for. A
    lease that goes while its attachment stays is no such thing, but its container's."""
    change(world)
    assert world.told() == reason


def test_inotify_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no directory can be watched they are looked at now and then, which is said once; later they are watched."""
    instance = inotify.instance
    limit = threading.Event()
    limit.set()

    def limited(path: str) -> int:
        if limit.is_set():
            raise OSError(errno.EMFILE, "inotify is at its limit", path)
        return instance(path)

    monkeypatch.setattr(inotify, "instance", limited)
    monkeypatch.setattr(module, "_PAUSE", 0.2)
    made = World(tmp_path)
    networks = Networks(made.conf, tmp_path / "state")
    watch = Freed(networks.catalogue, made.conf, made.cache, [made.bin])
    with capture_logs() as logs:
        threading.Thread(target=watch.run, args=(made.reasons.put, lambda: made.failing), daemon=True).start()
        made.told()
        made.attach(WEB)
        time.sleep(0.5)  # what is taken is seen by one of the looks
        made.detach(WEB)
        assert made.told() == "something became free"
        limit.clear()
        wait_until(lambda: len(logs) == 2, 10, "another instance")
    assert [log["event"] for log in logs] == ["what is free is noticed late", "what is free is noticed at once again"]
    assert logs[0]["reason"] == "inotify is at its limit"


def test_what_fails_does_not_wake_itself(world: World) -> None:
    """What an ADD that fails takes and gives back is nothing new, however long it had it; another's is."""
    world.failing.append(f"lan-{DB}")
    for _ in range(3):
        world.attach(DB)
        with pytest.raises(queue.Empty):
            world.told(0.3)
        world.detach(DB)
        with pytest.raises(queue.Empty):
            world.told(0.3)
    world.detach(WEB)
    assert world.told() == "something became free"
