"""The locks: who waits, who does not, and what is said about the holder."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dockercni.errors import LockHeld, LockUnusable
from dockercni.linux import processes
from dockercni.reconcile import locks
from dockercni.reconcile.locks import Locks
from tests.hosts.waiting import wait_until

ROOT = Path(__file__).parents[3]
HOLDER = """
import subprocess, sys
from pathlib import Path
from dockercni.reconcile.locks import Locks
with Locks(Path(sys.argv[1]), 60).container("web") as fd:
    child = subprocess.Popen(["sleep", "86400"], pass_fds=[fd]) if sys.argv[2] == "plugin" else None
    print(child.pid if child else 0, flush=True)
    input()
"""


def hold(run_dir: Path, how: str = "") -> tuple[subprocess.Popen[str], int]:
    """Another process that holds the lock of container `web`, with a plugin that inherits it if asked."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run_dir), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout
    return process, int(process.stdout.readline())


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for nothing is short."""
    monkeypatch.setattr(locks, "_GRACE", 0.0)


def test_container_is_exclusive(tmp_path: Path) -> None:
    """The lock of one container is held by one at a time; that of another does not wait."""
    one = Locks(tmp_path, 10)
    order: list[str] = []

    def second() -> None:
        with one.container("web"):
            order.append("second")

    with one.container("web"):
        thread = threading.Thread(target=second)
        thread.start()
        with one.container("other"):
            order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert list((tmp_path / "lock").iterdir()) == []


def test_holder_is_named(tmp_path: Path) -> None:
    """Who waits in vain is told by which process and command the lock is held."""
    holder, _ = hold(tmp_path)
    with (
        pytest.raises(LockHeld, match=rf"lock/web is held by process {holder.pid} \(dockercni "),
        Locks(tmp_path, 0.05).container("web"),
    ):
        pass
    holder.kill()
    holder.wait()
    with Locks(tmp_path, 0.05).container("web"):
        pass


def test_live_holder_keeps_its_plugin(tmp_path: Path) -> None:
    """While its holder lives nobody is killed, however long it takes."""
    holder, plugin = hold(tmp_path, "plugin")
    with pytest.raises(LockHeld), Locks(tmp_path, 0.1).container("web"):
        pass
    assert processes.start_time(plugin)
    holder.kill()
    holder.wait()
    processes.kill(plugin)


def test_plugin_that_outlives_its_holder(tmp_path: Path) -> None:
    """A plugin that outlives the holder keeps the lock until its time is up, and is then killed."""
    holder, plugin = hold(tmp_path, "plugin")
    taken = (tmp_path / "lock/web").stat().st_mtime
    holder.kill()
    holder.wait()
    assert processes.start_time(plugin)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks, "_GRACE", 10.0)
        with Locks(tmp_path, 1.0).container("web"):
            assert time.time() - taken >= 1.0
            assert processes.start_time(plugin) is None


def test_host_is_shared_or_exclusive(tmp_path: Path) -> None:
    """ADDs and DELs share the host's lock, what must see none of them has it alone."""
    one, impatient = Locks(tmp_path, 10), Locks(tmp_path, 0.02)
    with one.host(), impatient.host(), pytest.raises(LockHeld), impatient.host(exclusive=True):
        pass
    with one.host(exclusive=True), pytest.raises(LockHeld), impatient.host():
        pass


def test_daemon_does_not_wait(tmp_path: Path) -> None:
    """A second daemon is refused at once."""
    one = Locks(tmp_path, 60)
    began = time.monotonic()
    with one.daemon(), pytest.raises(LockHeld, match=f"held by process {os.getpid()} "), one.daemon():
        pass
    assert time.monotonic() - began < 5
    with one.daemon():
        pass


def test_many_waiters(tmp_path: Path) -> None:
    """Though the file is removed with each release, never two hold the lock."""
    one = Locks(tmp_path, 30)
    inside: list[int] = []
    most: list[int] = []

    def take() -> None:
        for _ in range(20):
            with one.container("web"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    wait_until(lambda: len(most) == 120, 5, "all turns")
    assert set(most) == {1}


CLAIMING = """
import sys
from pathlib import Path
from dockercni.reconcile.locks import Locks
with Locks(Path(sys.argv[1]), 60).ports([("tcp", 20150), ("udp", 53)]):
    print(flush=True)
    input()
"""


def test_claimed_ports(tmp_path: Path) -> None:
    """A port that is being published is nobody else's, its holder is named, and free when that one dies."""
    locks = Locks(tmp_path, 0.05)
    holder = subprocess.Popen(
        [sys.executable, "-c", CLAIMING, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert holder.stdout
    holder.stdout.readline()
    with (
        pytest.raises(
            LockHeld, match=rf"one of the ports 20000-20299/tcp of the host is held by process {holder.pid} "
        ),
        locks.ports([("tcp", port) for port in range(20000, 20300)]),
    ):
        pass
    with locks.ports([("tcp", 53), ("udp", 20150), ("sctp", 65535)]) as claims:
        assert [claims.take("udp", 53), claims.take("udp", 54), claims.take("tcp", 53)] == [False, True, True]
    holder.kill()
    holder.wait()
    with locks.ports([("tcp", 20150), ("udp", 53)]):
        pass


def test_threads_exclude_each_other(tmp_path: Path) -> None:
    """Threads of one process wait for each other's ports, whatever the order in which they ask for them."""
    locks, held, most = Locks(tmp_path, 30), [0], [0]

    def claim(ports: list[int]) -> None:
        for _ in range(20):
            with locks.ports([("tcp", port) for port in ports]):
                held[0] += 1
                most[0] = max(most[0], held[0])
                time.sleep(0.0005)
                held[0] -= 1

    threads = [threading.Thread(target=claim, args=[ports]) for ports in ([1, 5, 9], [9, 5], [5, 1, 2], [8, 9, 5])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1]


def test_descriptors_do_not_grow_with_ports(tmp_path: Path) -> None:
    """However many ports are claimed, by one or by many runs of ports, one descriptor is open."""
    locks = Locks(tmp_path, 1)
    wanted = [
        (protocol, port) for protocol in ("tcp", "udp", "sctp") for port in (*range(1, 5000), *range(6000, 9000, 2))
    ]
    before = len(os.listdir("/proc/self/fd"))
    with locks.ports(wanted):
        assert len(os.listdir("/proc/self/fd")) == before + 1


@pytest.mark.parametrize("what", ["link", "directory"])
def test_a_file_of_claims_that_is_none(tmp_path: Path, what: str) -> None:
    """What somebody else put into the place of the file is not opened."""
    path = tmp_path / "ports.lock"
    if what == "link":
        path.symlink_to(tmp_path / "victim")
    else:
        path.mkdir()
    with pytest.raises(LockUnusable, match="cannot lock"), Locks(tmp_path, 1).ports([("tcp", 80)]):
        pass
    assert not (tmp_path / "victim").exists()


def test_a_full_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock is held without the words that explain it."""
    locks = Locks(tmp_path, 1.0)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dockercni.reconcile.locks.os.pwrite", full)
    with locks.container("web"), locks.bridge("br0"):
        assert list(locks.containers()) == ["web"]
    assert list(locks.containers()) == []
