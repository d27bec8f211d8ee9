"""Network namespaces: opened, told apart, entered, pinned."""

from __future__ import annotations

import errno
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from dockercni.linux.netns import Namespace, NamespaceGone, NotANamespace, boot_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.hosts import Host


def test_open_and_compare(host: Host, netns: Callable[[str], str]) -> None:
    """The same namespace is equal by whatever path it was opened, another one is not; cookies tell the same."""
    one, two = host.path(netns("one")), host.path(netns("two"))
    with Namespace.open(one) as first, Namespace.open(one) as again, Namespace.open(two) as other:
        assert first == again != other
        assert hash(first) == hash(again)
        assert first.cookie() == again.cookie() != other.cookie()
    with Namespace.of_process(os.getpid()) as own, Namespace.open("/proc/self/ns/net") as self:
        assert own == self


def test_cookie_is_never_given_twice(host: Host, netns: Callable[[str], str]) -> None:
    """A namespace in the place of one that is gone has another cookie, though it may have the same inode."""
    cookies = set()
    for _ in range(5):
        with Namespace.open(host.path(netns("one"))) as namespace:
            cookies.add(namespace.cookie())
        host.run("ip", "netns", "del", "one")
    assert None not in cookies
    assert len(cookies) == 5
    assert boot_id() == boot_id() != ""


def test_what_is_none(tmp_path: Path) -> None:
    """A missing path or process is told from one that is no network namespace."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / "file").touch()
    for path in (tmp_path / "no", tmp_path / "file" / "x", f"/proc/{ended.pid}/ns/net"):
        with pytest.raises(NamespaceGone):
            Namespace.open(path)
    for path in (tmp_path, tmp_path / "file", "/dev/null", "/proc/self/ns/mnt"):
        with pytest.raises(NotANamespace):
            Namespace.open(path)


def test_run_inside(host: Host, netns: Callable[[str], str]) -> None:
    """Work runs inside and nowhere else; what it raises comes out; the caller stays where it was."""
    before = os.stat("/proc/thread-self/ns/net").st_ino
    with Namespace.open(host.path(netns("one"))) as namespace:
        assert namespace.run(lambda: os.stat("/proc/thread-self/ns/net").st_ino) == namespace.identity[1]
        assert namespace.interfaces() == {"lo"}
        with pytest.raises(ZeroDivisionError):
            namespace.run(lambda: 1 // 0)
    assert os.stat("/proc/thread-self/ns/net").st_ino == before


def test_processes(host: Host, netns: Callable[[str], str]) -> None:
    """The processes of a namespace are those that live in it."""
    with Namespace.open(host.path(netns("one"))) as namespace:
        assert namespace.processes() == []
        program = host.popen("ip", "netns", "exec", "one", "sleep", "86400")
        host.wait_until(lambda: namespace.processes() == [program.pid], 5, "the process", namespace.processes)
        program.kill()
        assert namespace.processes() == []


def test_process_that_ends_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """EACCES is what the kernel says of a process that has just ended, too: its namespace is gone."""

    def refuse(path: str, _flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        Namespace.of_process(os.getpid())
    with pytest.raises(NamespaceGone):
        Namespace.of_process(1 << 30)


PINS = """
import os
from pathlib import Path
from dockercni.linux.netns import Namespace, NamespaceGone, NotANamespace, pin, unpin
path = Path("/run/netns-test/dockercni-x")
with Namespace.open("/run/netns/one") as namespace:
    pin(namespace, path)
    cookie = namespace.cookie()
    try:
        pin(namespace, path)
    except FileExistsError:
        pass
    else:
        raise AssertionError("pinned twice")
os.system("ip netns del one")
with Namespace.open(path) as namespace:  # it lives by the pin alone
    assert namespace.cookie() == cookie
unpin(path)
assert not path.exists()
unpin(path)  # already gone
path.touch()  # what is left of a pin whose mount is gone
try:
    Namespace.open(path)
except NotANamespace:
    pass
else:
    raise AssertionError("a file is no namespace")
unpin(path)
assert not path.exists()
target = Path("/run/target"); target.touch()
path.symlink_to(target)
unpin(path)  # the link goes, not what it leads to
assert target.exists() and not path.is_symlink()
print("done")
"""


def test_pin(netns: Callable[[str], str], inside: Callable[[str], str]) -> None:
    """A pin keeps a namespace alive, is taken away whole, and what is left of one too; twice is success."""
    netns("one")
    assert inside(PINS) == "done\n"


def test_pins_show_in_other_mount_namespaces(
    host: Host, netns: Callable[[str], str], inside: Callable[[str], str]
) -> None:
    """A pin shows in a mount namespace that was made before it (`ip netns exec` makes one)."""
    netns("one")
    inside("from pathlib import Path; from dockercni.linux import netns as n; n._share(Path('/run/netns'))")
    program = host.popen("unshare", "--mount", "--propagation", "slave", "sh", "-c", "echo up; exec sleep 86400")
    host.wait_until(lambda: "up" in program.text(), 5, "the other mount namespace", program.text)
    inside(
        "from pathlib import Path; from dockercni.linux.netns import *\n"
        "with Namespace.open('/run/netns/one') as one: pin(one, Path('/run/netns/dockercni-x'))"
    )
    target = ("nsenter", f"--mount=/proc/{program.pid}/ns/mnt", "stat", "--file-system", "--format=%T")
    assert host.run(*target, "/run/netns/dockercni-x").stdout.strip() == "nsfs"
    inside("from pathlib import Path; from dockercni.linux.netns import *\nunpin(Path('/run/netns/dockercni-x'))")
    program.kill()
