"""Files and directories of ours that somebody else has put something in the place of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dockercni import status_file
from dockercni.cni import Cache, CacheEntry, CacheError
from dockercni.daemon.heartbeat import Heartbeat
from dockercni.errors import DockercniError
from dockercni.files import private_directory
from dockercni.plugins import backups, host_local, leases
from dockercni.plugins.tuning_conf import TuningConf
from dockercni.reconcile import state
from dockercni.reconcile.history import History, PastAttachment
from dockercni.reconcile.locks import Locks
from dockercni.status_file import FILE

if TYPE_CHECKING:
    from collections.abc import Callable

HUGE = 1 << 40  # bytes; a sparse file
HAD = PastAttachment("lan", "eth0", (), "", "")


def link(path: Path) -> None:
    """A symbolic link to what must not be touched."""
    path.symlink_to(path.parent / "victim")


def directory(path: Path) -> None:
    """A directory."""
    path.mkdir()


def huge(path: Path) -> None:
    """A file that no memory holds."""
    with path.open("wb") as file:
        file.truncate(HUGE)


IN_THE_WAY = (link, os.mkfifo, directory, huge)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a file of somebody else in it."""
    (tmp_path / "victim").write_text("precious")
    return tmp_path


def _lock(path: Path) -> None:
    with Locks(path, 0.1).host():
        pass


@pytest.mark.parametrize("put", IN_THE_WAY[:3])
def test_locks(place: Path, put: Callable[[Path], None]) -> None:
    """A lock is a regular file: whatever else is there is refused at once, by name, and left as it is."""
    put(place / "host.lock")
    put(place / "daemon.lock")
    with pytest.raises(DockercniError, match=r"cannot lock .*host\.lock: "):
        _lock(place)
    assert not Locks(place, 0.1).daemon_lives()
    assert Locks(place, 0.1).daemon_pid() is None
    assert (place / "victim").read_text() == "precious"


def test_what_a_lock_says_is_bounded(place: Path) -> None:
    """Nobody reads a lock's file to an end that never comes."""
    huge(place / "daemon.lock")
    assert Locks(place, 0.1).daemon_pid() is None


@pytest.mark.parametrize("put", IN_THE_WAY)
def test_small_files_of_ours(place: Path, put: Callable[[Path], None]) -> None:
    """State, memory and heartbeat are read from regular files of a sensible size only."""
    for name in ("engine.json", "web.json", FILE):
        put(place / name)
    with pytest.raises(DockercniError, match=r"cannot read .*\.json"):
        state.read(place / "engine.json", dict[str, str], {})
    assert History(place).recall("web") == ()
    assert status_file.read(place) is None


def test_writing_replaces_a_link(place: Path) -> None:
    """Where a link lies in a file's place the link is replaced; what it points to is left alone."""
    link(place / "engine.json")
    link(place / FILE)
    state.write(place / "engine.json", {})
    heart = Heartbeat(place, tuple)
    heart._write()
    assert not (place / "engine.json").is_symlink()
    assert not (place / FILE).is_symlink()
    assert (place / "victim").read_text() == "precious"


@pytest.mark.parametrize("wrong", ["link", "file", "owner"])
def test_directories_of_ours(place: Path, wrong: str) -> None:
    """A directory of ours that is a link, a file or somebody else's is refused by everyone who would write there."""
    ours = place / "ours"
    if wrong == "link":
        (place / "elsewhere").mkdir()
        ours.symlink_to(place / "elsewhere")
    elif wrong == "file":
        ours.touch()
    else:
        ours.mkdir()
        os.chown(ours, 12345, 12345)
    words = {"link": "it is a symbolic link", "file": "[Nn]ot a directory", "owner": "it belongs to user 12345"}[wrong]
    uses: tuple[Callable[[], object], ...] = (
        lambda: _lock(ours),
        lambda: state.write(ours / "engine.json", {}),
    )
    for use in uses:
        with pytest.raises(DockercniError, match=words):
            use()
    History(ours).remember("web", HAD)  # nothing depends on it: it does without
    assert not (ours.is_dir() and list(ours.iterdir()))
    for below in ("lock", "bridge"):
        (run := place / f"run-{below}").mkdir()
        ours.rename(run / below)
        locks = Locks(run, 0.1)
        taken = {"lock": locks.container("web"), "bridge": locks.bridge("br0")}
        with pytest.raises(DockercniError, match=words), taken[below]:
            pass
        (run / below).rename(ours)
    if wrong == "link":
        assert list((place / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "words"), [("link", "it is a symbolic link"), ("mode", "can be changed by other users")]
)
def test_the_cache_of_others(place: Path, wrong: str, words: str) -> None:
    """Nothing is recorded where others could change the record, or in another place."""
    results = place / "results"
    if wrong == "link":
        (place / "elsewhere").mkdir()
        results.symlink_to(place / "elsewhere")
    else:
        results.mkdir()
        results.chmod(0o777)
    with pytest.raises(CacheError, match=words):
        Cache(place).write(CacheEntry("lan", "web", "eth0", "", b"{}"))
    assert {path.name for path in place.iterdir()} <= {"victim", "results", "elsewhere"}


@pytest.mark.parametrize("mask", [0, 0o022])
def test_modes(tmp_path: Path, mask: int) -> None:
    """Whatever the umask: our directories, their missing parents too, are 0700 and our files 0600."""
    before = os.umask(mask)
    try:
        run, kept = tmp_path / "x" / "run", tmp_path / "x" / "state"
        with Locks(run, 1).container("web"), Locks(run, 1).bridge("br0"), Locks(run, 1).ports([("tcp", 80)]):
            History(kept / "containers").remember("web", HAD)
            state.write(kept / "engine.json", {})
            Heartbeat(run, tuple)._write()
            Cache(tmp_path / "x" / "cache").write(CacheEntry("lan", "web", "eth0", "", b"{}"))
            found = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "x").rglob("*")}
    finally:
        os.umask(before)
    assert len(found) >= 13
    assert {path: oct(mode) for path, mode in found.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}


def test_wide_directories_are_closed(tmp_path: Path) -> None:
    """A directory of ours that somebody made for us (a volume, a unit) is closed to others; a shared one is left."""
    for name, shared, mode in (("run", False, 0o700), ("results", True, 0o755)):
        (tmp_path / name).mkdir(mode=0o755)
        private_directory(tmp_path / name, shared=shared)
        assert (tmp_path / name).stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("put", IN_THE_WAY)
def test_backups_of_tuning(place: Path, put: Callable[[Path], None]) -> None:
    """What lies in the place of a backup is not believed, and is not written through."""
    file = backups.path(str(place), "web", "eth0")
    put(file)
    assert backups.load(file) is None
    if put is link:
        with pytest.raises(OSError, match="symbolic"):
            backups.save(file, TuningConf({}, "", False, 0, None, None), None)  # type: ignore[arg-type]
    assert (place / "victim").read_text() == "precious"


@pytest.mark.parametrize("put", IN_THE_WAY)
def test_leases(place: Path, put: Callable[[Path], None]) -> None:
    """What lies between the leases of host-local is no lease, is not followed and does not stop us."""
    (place / "net").mkdir()
    (place / "net" / "victim").write_text("precious")
    for name in ("10.0.0.2", "last_reserved_ip.0"):
        put(place / "net" / name)
    with leases.locked(str(place), "net") as store:
        assert store.held("web", "eth0") == []
        assert store.last_reserved(0) is None
    assert (place / "net" / "victim").read_text() == "precious"


def test_the_directory_of_leases(place: Path) -> None:
    """A link in the place of a network's leases is refused."""
    (place / "elsewhere").mkdir()
    (place / "net").symlink_to(place / "elsewhere")
    with pytest.raises(OSError, match="Not a directory"), leases.locked(str(place), "net"):
        pass


@pytest.mark.parametrize("put", IN_THE_WAY[1:])
def test_resolv_conf(place: Path, put: Callable[[Path], None]) -> None:
    """host-local reads a configured resolv.conf of a sensible size, and waits for nobody."""
    put(place / "resolv.conf")
    with pytest.raises(OSError, match=r"regular file|directory|larger than"):
        host_local.read_resolv_conf(str(place / "resolv.conf"))


def test_resolv_conf_is_often_a_link(tmp_path: Path) -> None:
    """A link to a resolv.conf is followed, as every resolver does."""
    (tmp_path / "stub").write_text("nameserver 192.0.2.1\n")
    (tmp_path / "resolv.conf").symlink_to(tmp_path / "stub")
    assert host_local.read_resolv_conf(str(tmp_path / "resolv.conf")).nameservers == ("192.0.2.1",)
