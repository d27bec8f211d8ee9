"""Power loss, and namespaces and processes that are not what they were when we looked last."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.chaos import proxy
from tests.chaos.checker import complaints
from tests.chaos.reboot import reboot, restore
from tests.chaos.wanted import Wanted, configure
from tests.hosts import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host, Outside

WANTED = {
    "always": Wanted(("alpha", "beta"), (8081,), "always"),
    "unless": Wanted(("beta",), (8082,), "unless-stopped"),
    "once": Wanted(("alpha",), (8083,)),
}


@pytest.fixture
def rebooting(host: Host) -> Iterator[None]:
    """The boot id is the machine's again afterwards."""
    yield
    restore(host)


@pytest.mark.parametrize("first", ["engine", "daemon", "sync"])
def test_reboot(host: Host, outside: Outside, daemon: Start, cli: Cli, rebooting: None, first: str) -> None:
    """After power loss containers that come back have their networks and addresses again; others have left nothing."""
    configure(host)
    for name, want in WANTED.items():
        want.run(host, name)
    cli("sync", check=True)
    before = _addresses(host)
    reboot(host, outside)
    if first == "daemon":
        daemon("--attach-running", wait=False)
    host.start_engine()
    if first == "engine":
        daemon("--attach-running")
    if first == "sync":
        synced = cli("sync")
        assert synced.returncode == 0, synced.stdout + synced.stderr
        assert complaints(host, outside, WANTED) == [], synced.stdout
    else:
        wait_until(lambda: not complaints(host, outside, WANTED), 30, "convergence")
    assert host.docker("ps", "--format={{.Names}}").split() == ["unless", "always"]
    now = _addresses(host)
    assert {lease: before[lease] for lease in now} == now


@pytest.mark.timeout(240)
def test_inode_reuse(host: Host, outside: Outside, cli: Cli) -> None:
    """A stranger's namespace that got the inode of a container's, at the path of its pin, is not touched."""
    configure(host)
    stranger = ""
    while not stranger:
        WANTED["once"].run(host, "once")
        cli("sync", check=True)
        container, pid = host.docker("inspect", "--format={{.Id}} {{.State.Pid}}", "once").split()
        inode = os.stat(f"/proc/{pid}/ns/net").st_ino
        pin = f"/run/netns/dockercni-{container}"
        host.run("umount", pin)
        host.docker("kill", "once")
        stranger = _namespace_of_inode(host, inode)
        if not stranger:  # another test's namespace was faster
            host.docker("rm", "once")
            cli("sync", check=True)
            host.run("ip", "-all", "netns", "delete")
    host.run("/bin/sh", "-ec", f"mount --bind /run/netns/{stranger} {pin}; ip -n {stranger} link add eth0 type bridge")
    cli("sync")
    assert "eth0" in host.run("ip", "-n", stranger, "-o", "link").stdout
    host.run("/bin/sh", "-c", f"umount {pin}; ip -all netns delete")
    cli("sync", check=True)
    assert complaints(host, outside, WANTED) == []


def test_pid_reuse(host: Host, outside: Outside, cli: Cli) -> None:
    """A process of a stranger that got the pid which the engine named a moment ago is not given a network."""
    configure(host)
    host.run("ip", "netns", "add", "stranger")
    sleeper = host.popen("ip", "netns", "exec", "stranger", "sleep", "86400")
    wait_until(
        lambda: os.stat(f"/proc/{sleeper.pid}/ns/net").st_ino == os.stat(host.path("/run/netns/stranger")).st_ino,
        10,
        "the stranger's process",
    )
    WANTED["once"].run(host, "once")
    pid = host.docker("inspect", "--format={{.State.Pid}}", "once")
    with proxy.Proxy(host) as between:
        between.replace_once(f'"Pid":{pid},'.encode(), f'"Pid":{sleeper.pid},'.encode())
        synced = cli("sync", "--docker-host", proxy.URL)
        assert not between.replacing, "the engine was not asked"
    assert synced.returncode == 0, synced.stdout  # the second look of the same sync found the container itself
    assert host.run("ip", "-n", "stranger", "-o", "link").stdout.count("\n") == 1  # lo
    sleeper.kill()
    host.run("ip", "netns", "delete", "stranger")
    cli("sync", check=True)
    assert complaints(host, outside, WANTED) == []


def _addresses(host: Host) -> dict[str, str]:
    leases = host.path("/var/lib/cni/networks").glob("*/10.*")
    return {f"{lease.parent.name} {lease.read_text()}": lease.name for lease in leases}


def _namespace_of_inode(host: Host, inode: int) -> str:
    """Make namespaces until one has it: the kernel gives the inode of one that is gone to the next or so, or none."""
    for number in range(_TRIED):
        name = f"stranger{number}"
        host.run("ip", "netns", "add", name)
        if os.stat(host.path(f"/run/netns/{name}")).st_ino == inode:
            return name
    return ""


_TRIED = 200  # a namespace takes a moment to go
