"""Whether programs that live in a network namespace may configure it: what the kernel says of their capabilities."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dockercni.linux import capabilities
from dockercni.linux.netns import Namespace
from tests.hosts import wait_until

if TYPE_CHECKING:
    from tests.hosts import Host

ROOT = "/run/rootfs"  # a program of a container has another root than the host's tools
ASLEEP = ("/busybox", "sleep", "1000")
WITHOUT = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
USER = ("--reuid=1000", "--regid=1000", "--clear-groups")


@pytest.mark.parametrize(
    ("words", "may"),
    [
        (("unshare", "--net", f"--root={ROOT}"), True),
        (("unshare", "--net", *WITHOUT, "unshare", f"--root={ROOT}"), False),
        (("unshare", "--net", "chroot", "--userspec=1000:1000", ROOT), True),
        (("unshare", "--net", "setpriv", "--no-new-privs", "chroot", "--userspec=1000:1000", ROOT), False),
        (("unshare", "--user", "--map-root-user", "--net", f"--root={ROOT}"), True),
        (("unshare", "--net", *WITHOUT, "unshare", "--user", "--map-root-user", f"--root={ROOT}"), False),
    ],
    ids=["root", "without", "may become root", "may not", "user namespace", "user namespace of its own"],
)
def test_programs(host: Host, words: tuple[str, ...], may: bool) -> None:
    """Capabilities count that a program has or may gain, in a user namespace that owns the network namespace."""
    host.run("/bin/sh", "-c", f"mkdir -p {ROOT}; cp $(which busybox) {ROOT}/busybox")
    program = host.popen(*words, *ASLEEP)
    pid = program.process.pid
    wait_until(lambda: name(pid) == "sleep" or not program.running, 10, "asleep", program.text)
    try:
        with Namespace.of_process(pid) as namespace:
            assert capabilities.may_configure(namespace) is may
    finally:
        program.kill()


def test_tools_of_the_host(host: Host) -> None:
    """A tool of the host that visits the namespace says nothing of what the container may do."""
    program = host.popen("unshare", "--net", "sleep", "1000")
    pid = program.process.pid
    wait_until(lambda: name(pid) == "sleep", 10, "asleep", program.text)
    with Namespace.of_process(pid) as namespace:
        assert namespace.processes() == [pid]
        assert not capabilities.may_configure(namespace)
    program.kill()


def name(pid: int) -> str:
    """What the process is called now; nsenter, unshare and the like execute it in the end."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
    except OSError:
        return ""
    return "sleep" if words[-3:-1] == [b"sleep", b"1000"] and words[0] in {b"/busybox", b"sleep"} else json.dumps(pid)
