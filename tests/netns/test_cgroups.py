"""Cgroups: which hierarchy is watched, and what the watch reports."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from dockercni.linux import cgroups
from tests.hosts import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
V1 = """\
40 30 0:33 / /sys/fs/cgroup/systemd rw shared:10 - cgroup cgroup rw,xattr,name=systemd
41 30 0:34 / /sys/fs/cgroup/cpu,cpuacct rw shared:11 - cgroup cgroup rw,cpu,cpuacct
42 30 0:35 / /sys/fs/cgroup/freezer rw shared:12 - cgroup cgroup rw,freezer
43 30 0:36 / /sys/fs/cgroup/unified rw shared:13 - cgroup2 cgroup2 rw"""
OWN = V1.replace(" / /sys", " /docker/0123 /sys")
LEAF = "0" * 63


@pytest.fixture
def top() -> Iterator[Path]:
    """A cgroup of our own, in the hierarchy that would be watched."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    directory = cgroups.hierarchy() / f"dockercni-test-{uuid4().hex[:12]}"
    directory.mkdir()
    yield directory
    for path, _, _ in os.walk(directory, topdown=False):
        Path(path).rmdir()


@pytest.fixture
def tree(top: Path) -> Iterator[cgroups.Tree]:
    """The watch on it."""
    watch = cgroups.Tree(top, is_leaf=lambda name: re.search(LEAF, name) is not None)
    yield watch
    watch.close()


@pytest.mark.parametrize(
    ("mountinfo", "place"),
    [
        (V2, "/sys/fs/cgroup"),
        (V1, "/sys/fs/cgroup/freezer"),
        ("\n".join(V1.splitlines()[:2]), "/sys/fs/cgroup/cpu,cpuacct"),
        (f"{OWN}\n{V1.replace('/sys/fs', '/host')}", "/host/cgroup/freezer"),
        (
            f"50 30 0:40 / /home/u/a\rb\x1c\x85\u2028\fc rw - fuse \x0b rw\n{V2}\n51 30 0:41 / /x rw - fuse",
            "/sys/fs/cgroup",
        ),
        ("30 20 0:26 /../../.. /sys/fs/cgroup ro - cgroup2 cgroup rw", "/sys/fs/cgroup"),  # a sidecar's
    ],
)
def test_hierarchy(mountinfo: str, place: str) -> None:
    """The one hierarchy of version 2, or one of version 1 that has every container and shows the machine's cgroups."""
    assert cgroups.hierarchy(mountinfo) == Path(place)


@pytest.mark.parametrize(
    ("mountinfo", "reason"), [(OWN, "only our own cgroup"), ("1 0 0:1 / / rw - ext4 x rw", "no cgroup")]
)
def test_no_hierarchy(mountinfo: str, reason: str) -> None:
    """Where the machine's cgroups cannot be seen, the reason is said."""
    with pytest.raises(cgroups.NoHierarchy, match=reason):
        cgroups.hierarchy(mountinfo)


def test_comes_and_goes(top: Path, tree: cgroups.Tree) -> None:
    """A leaf is reported when it appears and when it is removed, once each, and what is inside it is not."""
    leaf = top / f"{LEAF}1"
    (leaf / f"{LEAF}2").mkdir(parents=True)
    assert _changes(tree, 1) == [(str(leaf), True)]
    (leaf / f"{LEAF}2").rmdir()
    leaf.rmdir()
    assert _changes(tree, 1) == [(str(leaf), False)]
    assert not select.select([tree], [], [], 0)[0]


def test_later_parents(top: Path, tree: cgroups.Tree) -> None:
    """A leaf is reported below a parent that is made just before it, however deep, and named as systemd would."""
    leaf = top / "a.slice" / "a-b.slice" / f"docker-{LEAF}1.scope"
    leaf.mkdir(parents=True)
    assert _changes(tree, 1) == [(str(leaf), True)]
    leaf.rmdir()
    leaf.parent.rmdir()
    leaf.mkdir(parents=True)
    assert _changes(tree, 2) == [(str(leaf), False), (str(leaf), True)]


def test_what_was_there_is_not_reported(top: Path) -> None:
    """What exists when the watch begins is not reported as a start; its removal is reported."""
    leaf = top / f"{LEAF}1"
    leaf.mkdir()
    watch = cgroups.Tree(top, is_leaf=lambda name: LEAF in name)
    leaf.rmdir()
    assert _changes(watch, 1) == [(str(leaf), False)]
    watch.close()


def test_cgroups_of_other_users(top: Path, tree: cgroups.Tree) -> None:
    """Whoever may make cgroups somewhere cannot pass one off as a container's; root's are still reported."""
    (early := top / "session").mkdir()
    assert _changes(tree, 0) == []  # watched already when it is given away, which is what systemd does
    os.chown(early, 12345, 12345)
    (late := early / "slice").mkdir()
    os.chown(late, 12345, 12345)
    (writable := top / "writable").mkdir()
    writable.chmod(0o775)
    for place in (early, late, writable):
        (place / f"{LEAF}1").mkdir()
    (leaf := top / f"{LEAF}3").mkdir()
    assert _changes(tree, 1, until=(str(leaf), True)) == [(str(leaf), True)]


@pytest.mark.parametrize("late", [False, True])
def test_no_text(top: Path, late: bool) -> None:
    """A name that is no UTF-8 was not made by an engine, and is ignored: it could not even be reported."""
    strange = [top / os.fsdecode(name) for name in (b"\xff", b"\xff" + LEAF.encode())]
    if not late:
        for each in strange:
            each.mkdir()
    watch = cgroups.Tree(top, is_leaf=lambda name: LEAF in name)
    if late:
        for each in strange:
            each.mkdir()
    (strange[0] / f"{LEAF}1").mkdir()
    (leaf := top / f"{LEAF}2").mkdir()
    assert _changes(watch, 1, until=(str(leaf), True)) == [(str(leaf), True)]
    watch.close()


def test_too_many_events(top: Path, tree: cgroups.Tree) -> None:
    """When the kernel had to drop events, what is there now is reported all the same."""
    queue = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    other, leaf = top / f"{LEAF}1", top / f"{LEAF}2"
    for _ in range(queue // 2 + 1):
        other.mkdir()
        other.rmdir()
    leaf.mkdir()
    seen = _changes(tree, 1, until=(str(leaf), True))
    assert seen[-1] == (str(leaf), True)


@pytest.mark.parametrize("limit", ["instances", "watches"])
def test_limits_of_inotify(top: Path, limit: str) -> None:
    """Where a limit of inotify is in the way, the sysctl is named; here it is that of a user namespace of its own."""
    program = f"""
import pathlib
pathlib.Path("/proc/sys/user/max_inotify_{limit}").write_text("0")
from dockercni.linux.cgroups import Tree
try:
    Tree(pathlib.Path({str(top)!r}), is_leaf=lambda name: False)
except OSError as error:
    print(error.strerror)
"""
    argv = ["unshare", "--user", "--map-root-user", sys.executable, "-c", program]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)
    assert f"raise fs.inotify.max_user_{limit} " in done.stdout


def _changes(tree: cgroups.Tree, count: int, until: tuple[str, bool] | None = None) -> list[tuple[str, bool]]:
    seen: list[tuple[str, bool]] = []

    def enough() -> bool:
        seen.extend((change.path, change.came) for change in tree.changes())
        return until in seen if until else len(seen) >= count

    wait_until(enough, 20, "changes", lambda: seen[-10:])
    return seen
