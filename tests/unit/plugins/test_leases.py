"""dockercni.plugins.leases: the files, and that nobody's change is missed."""

from __future__ import annotations

import errno
import os
import threading
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from dockercni.cni import ErrorCode
from dockercni.plugins import leases
from dockercni.plugins.contract import PluginFailure
from dockercni.plugins.leases import Leases, locked

if TYPE_CHECKING:
    from pathlib import Path

FIRST, SECOND, SIX = ip_address("10.1.0.2"), ip_address("10.1.0.3"), ip_address("fd00::1:0:0:a")


def names(path: Path) -> set[str]:
    """The files of the store that are leases."""
    return {each.name for each in (path / "net").iterdir()} - {"lock", "last_reserved_ip.0"}


def test_bytes(tmp_path: Path) -> None:
    """A lease, the last address and the lock have the reference's names, bytes and modes."""
    with locked(str(tmp_path / "a/b"), "net") as store:
        assert store.reserve(FIRST, "c1", "eth0", 0)
        assert store.reserve(SIX, "c1", "eth0", 12)
    directory = tmp_path / "a/b/net"
    found = {each.name: (oct(each.stat().st_mode & 0o777), each.read_bytes()) for each in directory.iterdir()}
    assert found == {
        "10.1.0.2": ("0o600", b"c1\r\neth0"),
        "fd00::1:0:0:a": ("0o600", b"c1\r\neth0"),
        "last_reserved_ip.0": ("0o600", b"10.1.0.2"),
        "last_reserved_ip.12": ("0o600", b"fd00::1:0:0:a"),
        "lock": ("0o750", b""),
    }
    assert oct(directory.stat().st_mode & 0o777) == "0o755"


def test_taken(tmp_path: Path) -> None:
    """An address is given once, and again after its release; the last address stays what it was."""
    with locked(str(tmp_path), "net") as store:
        assert store.reserve(FIRST, "c1", "eth0", 0)
        assert not store.reserve(FIRST, "c2", "eth0", 0)
        store.release("c1", "eth0")
        assert store.reserve(FIRST, "c2", "eth0", 0)
        store.free(FIRST)
        assert store.last_reserved(0) == FIRST
        assert store.last_reserved(1) is None
    assert names(tmp_path) == set()


def test_release_of_old_files(tmp_path: Path) -> None:
    """Files that hold the container's id alone go only if none names the interface too."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net/10.1.0.9").write_text("c1")
    (tmp_path / "net/10.1.0.8").write_text(" c1\r\neth0\n")
    with locked(str(tmp_path), "net") as store:
        assert store.held("c1", "eth0") == [ip_address("10.1.0.8"), ip_address("10.1.0.9")]
        store.release("c1", "eth0")
        assert names(tmp_path) == {"10.1.0.9"}
        assert store.holds("c1", "eth1")
        store.release("c1", "eth1")
        assert names(tmp_path) == set()
        store.release("c1", "eth1")


def test_keep_only(tmp_path: Path) -> None:
    """What no valid attachment has is given back, if nobody uses it and it is not new; other files stay anyway."""
    (tmp_path / "net").mkdir()
    for name, text in (("10.1.0.9", "c1"), ("10.1.0.8", "c3"), ("10.1.0.7", ""), ("notes", "c9\r\neth0")):
        (tmp_path / "net" / name).write_text(text)
    with locked(str(tmp_path), "net") as store:
        store.reserve(FIRST, "c1", "eth0", 0)
        store.reserve(SECOND, "c1", "eth1", 0)
        valid = {("c1", "eth0"), ("c2", "eth0")}
        store.keep_only(valid, lambda: ())
        assert {"10.1.0.8", "10.1.0.3"} <= names(tmp_path)  # they are new
        for path in (tmp_path / "net").iterdir():
            os.utime(path, (0, 0))
        store.keep_only(valid, lambda: {ip_address("10.1.0.8")})
        assert "10.1.0.8" in names(tmp_path)
        store.keep_only(valid, lambda: ())
    assert names(tmp_path) == {"10.1.0.9", "10.1.0.2", "notes"}


def test_foreign_changes_are_seen(tmp_path: Path) -> None:
    """What others make and remove between two uses counts, however little time is between them."""
    for _ in range(50):
        with locked(str(tmp_path), "net") as store:
            assert store.reserve(FIRST, "c1", "eth0", 0)
        (tmp_path / "net/10.1.0.2").unlink()
        (tmp_path / "net/10.1.0.3").write_text("c2\r\neth0")
        with locked(str(tmp_path), "net") as store:
            assert not store.holds("c1", "eth0")
            assert not store.reserve(SECOND, "c1", "eth0", 0)
            store.release("c2", "eth0")
        assert names(tmp_path) == set()


def test_no_reading_without_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that only we use is not read again."""
    with locked(str(tmp_path), "net") as store:
        store.reserve(FIRST, "c1", "eth0", 0)
    monkeypatch.setattr(leases, "_scan", lambda _: pytest.fail("read again"))
    for number in range(3, 9):
        with locked(str(tmp_path), "net") as store:
            assert store.holds("c1", "eth0")
            store.reserve(FIRST + number, "c2", "eth0", 0)


def test_no_link_is_followed(tmp_path: Path) -> None:
    """Symbolic links in the place of directory, lock, lease or last address lead nowhere."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"c1\r\neth0")
    (tmp_path / "net").mkdir()
    for name in ("10.1.0.2", "last_reserved_ip.0"):
        (tmp_path / "net" / name).symlink_to(outside)
    with locked(str(tmp_path), "net") as store:
        assert not store.holds("c1", "eth0")
        assert not store.reserve(FIRST, "c2", "eth0", 1)
        with pytest.raises(OSError, match="symbolic link"):
            store.reserve(SECOND, "c2", "eth0", 0)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/lock").symlink_to(outside)
    (tmp_path / "third").symlink_to(tmp_path / "net")
    for network in ("other", "third"):
        with pytest.raises(OSError, match=r"symbolic link|Not a directory"), locked(str(tmp_path), network):
            pytest.fail("opened")
    assert outside.read_bytes() == b"c1\r\neth0"
    assert names(tmp_path) == {"10.1.0.2"}


def test_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease whose content cannot be written does not appear."""
    with locked(str(tmp_path), "net") as store:
        monkeypatch.setattr(os, "write", _full)
        with pytest.raises(OSError, match="No space"):
            store.reserve(FIRST, "c1", "eth0", 0)
    assert names(tmp_path) == set()


def test_without_unnamed_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On file systems without O_TMPFILE leases are made as the reference makes them."""
    true_open = os.open

    def refuse(path: str, flags: int, *rest: int, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not supported")
        return true_open(path, flags, *rest, dir_fd=dir_fd)

    with locked(str(tmp_path), "net") as store:
        monkeypatch.setattr(os, "open", refuse)
        assert store.reserve(FIRST, "c1", "eth0", 0)
        (tmp_path / "net/10.1.0.3").write_text("")
        assert not store.reserve(SECOND, "c1", "eth0", 0)
    assert (tmp_path / "net/10.1.0.2").read_bytes() == b"c1\r\neth0"


def test_lock(tmp_path: Path) -> None:
    """While one uses the store, nobody else does, threads of the same process included."""
    order = []

    def second() -> None:
        with locked(str(tmp_path), "net"):
            order.append("second")

    with locked(str(tmp_path), "net") as store:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.1)
        order.append("first")
        assert isinstance(store, Leases)
    thread.join()
    assert order == ["first", "second"]


def test_lock_that_is_never_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who keeps the lock does not stop us for ever: the error says to try again later."""
    monkeypatch.setattr(leases, "PATIENCE", 0.05)
    with locked(str(tmp_path), "net"):
        with pytest.raises(PluginFailure, match=r"net/lock locked for 0.05 s") as error, locked(str(tmp_path), "net"):
            pytest.fail("locked twice")
        assert error.value.code == ErrorCode.TRY_AGAIN_LATER


def _full(_fd: int, _data: bytes) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_restore(tmp_path: Path) -> None:
    """A lease that went comes back, and one whose file was emptied; that of somebody else stays, and is named.

    What a file says now counts: the directory does not show that it has changed since it was read.
    """
    file = tmp_path / "net/10.1.0.2"

    def restore() -> str:
        with locked(str(tmp_path), "net") as store:
            return store.restore(FIRST, "c1", "eth0")

    assert restore() == ""
    file.write_bytes(b"")
    assert restore() == ""
    assert file.read_bytes() == b"c1\r\neth0"
    file.write_bytes(b"c2\r\neth0")
    assert restore() == "c2\r\neth0"
    assert file.read_bytes() == b"c2\r\neth0"
    with locked(str(tmp_path), "net") as store:
        assert store.holds("c2", "eth0")
        assert not store.holds("c1", "eth0")
