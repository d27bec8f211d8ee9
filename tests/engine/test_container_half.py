"""What happens inside a container is its own affair if it may configure its network, and is repaired if it may not."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import addresses, conflist, network, run, wait_clean
from tests.hosts import IMAGE, Host, leftovers, wait_until

if TYPE_CHECKING:
    from tests.engine.daemons import Cli, Daemon, Start

BOTH = {
    "ranges": [[{"subnet": "10.9.0.0/24"}], [{"subnet": "fd09::/64"}]],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
}
RENAME = "ip link set eth0 down; ip link set eth0 name wan; ip link set wan up"
OFF = "echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6"
DAMAGE = {
    "ip route delete default": "REPAIR",
    "ip address flush dev eth0": "REPAIR",
    OFF: "REPAIR",
    "ip link set eth0 down": "REPAIR",
    RENAME: "REPAIR",
    f"{RENAME}; ip link add name eth0 type veth peer name eth9": "REPAIR",
    "ip link delete eth0": "ADD",
}
BACKENDS = pytest.mark.parametrize("backend", ["builtin", "exec"])


def start(host: Host, daemon: Start, backend: str, *flags: str) -> Daemon:
    """A dual-stack network, and a container on it that has said what it has."""
    network(host, "lan", "10.9.0.0/24", ipam={"type": "host-local", **BOTH})
    running = daemon(f"--backend={backend}")
    run(host, "web", *flags)
    running.wait_event("ADD", container="web")
    return running


def shape(host: Host) -> tuple[list[str], list[str], list[str]]:
    """Links, addresses (but for those of the kernel's own making) and default routes of the container."""
    place = host.container("web")
    links = [link for link in json.loads(place.run("ip", "-json", "address").stdout) if link["ifname"] != "lo"]
    given = [info["local"] for link in links for info in link["addr_info"] if info["scope"] == "global"]
    routes = [place.run("ip", family, "route", "show", "default").stdout.strip() for family in ("-4", "-6")]
    return [link["ifname"] for link in links], given, routes


def look_at_all(running: Daemon) -> None:
    """Have the daemon look at all containers, and wait until it has."""
    seen = len(running.log())
    os.kill(running.program.pid, signal.SIGHUP)
    running.wait_event("reconciling all", after=seen)


@pytest.mark.timeout(400)
@BACKENDS
def test_its_own_doing(host: Host, daemon: Start, cli: Cli, backend: str) -> None:
    """What a container with NET_ADMIN did to its network stays so, and its lease with it; a sync by name undoes it."""
    running = start(host, daemon, backend, "--cap-add=NET_ADMIN")
    # Docker 20.10 switches IPv6 off while it starts a container, and what went with that comes back a moment later.
    wait_until(lambda: len(shape(host)[1]) == 2, 10, "both addresses", lambda: shape(host))
    before = shape(host)
    for command, verb in DAMAGE.items():
        host.container("web").run("/bin/sh", "-c", command)
        changed = shape(host)
        assert changed != before, command
        seen = len(running.log())
        look_at_all(running)
        note = running.wait_event("NOTE", container="web", after=seen)
        assert "CAP_NET_ADMIN" in note["reason"]
        assert shape(host) == changed, command
        assert len(list(host.path("/var/lib/cni/networks/lan").glob("10.9.0.*"))) == 1
        done = cli("sync", "web", check=True)
        assert f"{verb} web lan eth0" in done.stdout, (command, done.stdout)
        host.container("web").run("/bin/sh", "-c", "ip link delete eth9", check=False)
        assert sorted(shape(host)[1]) == sorted(before[1]) or verb == "ADD", command
        assert addresses(host, "web"), command
        assert [bool(route) for route in shape(host)[2]] == [True, True], command


@pytest.mark.timeout(400)
@BACKENDS
def test_not_its_own_doing(host: Host, daemon: Start, cli: Cli, backend: str) -> None:
    """What a container without NET_ADMIN lacks cannot be its own doing: any look puts it back, in place."""
    running = start(host, daemon, backend)
    assert cli("status", "--wait=20s").returncode == 0  # Docker 20.10 takes IPv6 addresses while a container starts
    running.kill()  # it would hear of a link that is gone
    before = shape(host)
    for command, verb in DAMAGE.items():
        host.container("web").run("/bin/sh", "-c", command)
        done = cli("sync", check=True)
        assert f"{verb} web lan eth0" in done.stdout, (command, done.stdout)
        assert "failed" not in done.stdout
        host.container("web").run("/bin/sh", "-c", "ip link delete eth9", check=False)
        assert sorted(shape(host)[1]) == sorted(before[1]) or verb == "ADD", command
        assert addresses(host, "web"), command
        assert [bool(route) for route in shape(host)[2]] == [True, True], command


@pytest.mark.timeout(300)
def test_commands_agree(host: Host, daemon: Start, cli: Cli) -> None:
    """All commands that judge say the same of what is missing inside, by their words and by their exit codes."""
    start(host, daemon, "builtin")
    run(host, "vpn", "--cap-add=NET_ADMIN")
    wait_until(lambda: addresses(host, "vpn"), 20, "attached")
    host.container("vpn").run("ip", "route", "delete", "default")
    for command in (("sync", "--dry-run"), ("status",), ("check",), ("explain", "vpn")):
        done = cli(*command)
        assert done.returncode == 0, (command, done.stdout)
        assert "CAP_NET_ADMIN" in done.stdout, command
    assert "; dockercni sync vpn repairs it" in cli("explain", "vpn").stdout
    assert cli("sync", "--dry-run", "vpn").returncode == 3
    host.container("web").run("ip", "route", "delete", "default")
    for command in (("sync", "--dry-run"), ("status",), ("check",)):
        done = cli(*command)
        assert done.returncode == 3, (command, done.stdout)
        assert "missing: route 0.0.0.0/0" in done.stdout, command
    assert "missing: route 0.0.0.0/0" in cli("explain", "web").stdout
    states = {row["container"]: row["state"] for row in json.loads(cli("ps", "-o", "json").stdout)["attachments"]}
    assert states == {"web": "damaged", "vpn": "attached"}


def test_the_end_on_the_host(host: Host, daemon: Start, cli: Cli) -> None:
    """Both ends are gone, whichever was deleted: where it may be the container's own doing, it counts as that."""
    running = start(host, daemon, "builtin", "--cap-add=NET_ADMIN")
    run(host, "plain")
    running.wait_event("ADD", container="plain")
    seen = len(running.log())
    for name in ("web", "plain"):
        peer = json.loads(host.container(name).run("ip", "-json", "link", "show", "eth0").stdout)[0]["link_index"]
        links = json.loads(host.run("ip", "-json", "link").stdout)
        host.run("ip", "link", "delete", next(link["ifname"] for link in links if link["ifindex"] == peer))
    running.wait_event("ADD", container="plain", after=seen)
    running.wait_event("NOTE", container="web", after=seen)
    assert "its interface is gone; dockercni sync web repairs it" in cli("explain", "web").stdout
    assert addresses(host, "web") == []
    assert "ADD web lan eth0" in cli("sync", "web", check=True).stdout
    assert addresses(host, "web")


@BACKENDS
def test_nothing_is_left(host: Host, daemon: Start, backend: str) -> None:
    """A container that renamed or deleted its interface, or removed its address, leaves nothing behind when it goes."""
    running = start(host, daemon, backend, "--cap-add=NET_ADMIN", "-p", "8080:80")
    for command in (RENAME, "ip link delete eth0", "ip address flush dev eth0"):
        host.container("web").run("/bin/sh", "-c", command)
        host.docker("rm", "--force", "web")
        wait_clean(host)
        seen = len(running.log())
        run(host, "web", "--cap-add=NET_ADMIN", "-p", "8080:80")
        running.wait_event("ADD", container="web", after=seen)


@BACKENDS
def test_nothing_is_left_of_a_link_that_moved_away(host: Host, daemon: Start, backend: str) -> None:
    """An interface that was moved into another namespace goes with its container, as do lease and rules."""
    start(host, daemon, backend, "-p", "8080:80")
    inside = host.docker("inspect", "--format={{.State.Pid}}", "web")
    host.run("ip", "netns", "add", "away")
    try:
        host.run("nsenter", f"--net=/proc/{inside}/ns/net", "ip", "link", "set", "eth0", "netns", "away")
        host.docker("rm", "--force", "web")
        wait_until(lambda: leftovers(host) == ["pin away"], 20, "nothing but the other", lambda: leftovers(host))
        assert "eth0" not in host.run("ip", "-n", "away", "link").stdout
    finally:
        host.run("ip", "netns", "delete", "away")


def test_a_device_goes_back_to_the_host(host: Host, daemon: Start) -> None:
    """A device of the host that a container renamed goes back all the same, under the name that it had there."""
    host.run("ip", "link", "add", "dev0", "type", "veth", "peer", "name", "dev1")
    conflist(host, "lan", [{"type": "host-device", "device": "dev0"}])
    try:
        running = daemon()
        run(host, "web", "--cap-add=NET_ADMIN")
        running.wait_event("ADD", container="web")
        host.container("web").run("/bin/sh", "-c", RENAME)
        host.docker("rm", "--force", "web")
        running.wait_event("DEL", container="web")
        assert "dev0" in host.run("ip", "link").stdout
    finally:
        host.run("ip", "link", "delete", "dev0", check=False)


def test_joined_container(host: Host, daemon: Start, cli: Cli) -> None:
    """A container with NET_ADMIN that joined the network of another one may configure that."""
    start(host, daemon, "builtin")
    host.docker("run", "-d", "--name=vpn", "--network=container:web", "--cap-add=NET_ADMIN", IMAGE)
    host.container("web").run("ip", "route", "delete", "default")
    assert "CAP_NET_ADMIN" in cli("sync", check=True).stdout
    assert not shape(host)[2][0]
    host.docker("rm", "--force", "vpn")
    assert "REPAIR web" in cli("sync", check=True).stdout
    assert shape(host)[2][0]


def test_entrypoint(host: Host, daemon: Start, cli: Cli) -> None:
    """What the entrypoint of a VPN's container does first, before the engine has said that it runs, stays done."""
    network(host, "lan", "10.9.0.0/24")
    running = daemon()
    command = ("sh", "-c", "ip route delete default; exec sleep 1000")
    for number in range(5):
        host.docker("run", "-d", f"--name=vpn{number}", "--network=none", "--cap-add=NET_ADMIN", IMAGE, *command)
    look_at_all(running)
    assert cli("status", "--wait=20s").returncode == 0
    for number in range(5):
        assert not host.container(f"vpn{number}").run("ip", "route", "show", "default").stdout
