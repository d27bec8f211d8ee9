"""resolv.conf and hosts of a container."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from dockercni.docker.container_files import HOSTS, rewrite, with_own_lines, with_resolver

if TYPE_CHECKING:
    from pathlib import Path

ENGINES = "127.0.0.1\tlocalhost\n10.0.0.9\tadded.example\n"


def test_in_place(tmp_path: Path) -> None:
    """The file stays the same inode, also when it gets shorter; nothing is written that is there already."""
    file = tmp_path / HOSTS
    file.write_text(ENGINES)
    inode = file.stat().st_ino
    assert rewrite(tmp_path, HOSTS, lambda text: text + "more\n" * 100)
    assert rewrite(tmp_path, HOSTS, lambda _: "short\n")
    assert not rewrite(tmp_path, HOSTS, lambda text: text)
    assert (file.read_text(), file.stat().st_ino) == ("short\n", inode)


def test_any_bytes(tmp_path: Path) -> None:
    """What is no text in it stays as it is."""
    file = tmp_path / HOSTS
    file.write_bytes(b"\xff\n")
    rewrite(tmp_path, HOSTS, lambda text: text + "x\n")
    assert file.read_bytes() == b"\xff\nx\n"


@pytest.mark.parametrize("what", ["link", "hard link", "fifo", "directory", "missing", "large"])
def test_refused(tmp_path: Path, what: str) -> None:
    """Nothing but a regular file with one name is written to, and it never leads to another place."""
    other = tmp_path / "other"
    other.write_text("other\n")
    file = tmp_path / HOSTS
    match what:
        case "link":
            file.symlink_to(other)
        case "hard link":
            os.link(other, file)
        case "fifo":
            os.mkfifo(file)
        case "directory":
            file.mkdir()
        case "large":
            file.write_bytes(bytes(2 << 20))
    with pytest.raises(OSError):  # noqa: PT011  each has an errno of its own
        rewrite(tmp_path, HOSTS, lambda _: "ours\n")
    assert other.read_text() == "other\n"


def test_directory_is_a_link(tmp_path: Path) -> None:
    """Nor is anything in a directory that is a link."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / HOSTS).write_text("real\n")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(OSError):  # noqa: PT011
        rewrite(tmp_path / "link", HOSTS, lambda _: "ours\n")


def test_hosts() -> None:
    """The own lines come last, replace earlier ones, and leave those of the engine and the user alone."""
    once = with_own_lines(ENGINES, ["10.0.0.2", "fd00::2"], ["web.example", "web"])
    assert once == ENGINES + "10.0.0.2\tweb.example web\t# dockercni\nfd00::2\tweb.example web\t# dockercni\n"
    assert with_own_lines(once, ["10.0.0.3"], ["web"]) == ENGINES + "10.0.0.3\tweb\t# dockercni\n"
    assert with_own_lines(once, [], []) == ENGINES
    assert with_own_lines("", ["10.0.0.2"], ["web"]) == "10.0.0.2\tweb\t# dockercni\n"


@pytest.mark.parametrize(
    ("before", "search", "options", "after"),
    [
        ("nameserver 10.0.0.1\n", [], [], ["options ndots:0"]),
        ("search a.example b.example\n", [], [], ["search a.example b.example", "options ndots:0"]),
        ("domain a.example\n", [], [], ["search a.example", "options ndots:0"]),
        ("search a.example\n", ["b.example"], [], ["search b.example", "options ndots:0"]),
        ("search a.example\n", ["."], [], ["options ndots:0"]),
        ("options timeout:1\noptions rotate\n", [], [], ["options timeout:1 rotate ndots:0"]),
        ("options timeout:1\n", [], ["ndots:5"], ["options ndots:5"]),
    ],
)
def test_resolv_conf(before: str, search: list[str], options: list[str], after: list[str]) -> None:
    """The resolver is the only server; search domains and options are those asked for, else those of the engine."""
    text = with_resolver(before, "127.0.0.11", search, options)
    assert text.splitlines()[1:] == ["nameserver 127.0.0.11", *after]
    assert with_resolver(text, "127.0.0.11", search, options) == text
