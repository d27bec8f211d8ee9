"""The private host itself: what the other tests of this folder stand on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.hosts import (
    IMAGE,
    PYTHON_FLAGS,
    Host,
    NoAnswer,
    leftovers,
    peer_of,
    serve_tcp,
    serve_udp,
    sweep,
    wait_until,
    wipe,
)
from tests.hosts.processes import Members
from tests.hosts.registry import exclusive

if TYPE_CHECKING:
    from tests.hosts import Outside

ROOT = Path(__file__).parents[2]


def test_forward_policy(host: Host) -> None:
    """The engine has set the FORWARD policy to DROP, as on a host that forwards nothing else."""
    assert "-P FORWARD DROP" in host.run("iptables", "-S", "FORWARD").stdout


def test_paths_are_its_own(host: Host) -> None:
    """The directories at the default paths are not the machine's, and start empty."""
    for path in ("/run", "/etc/cni", "/var/lib/cni", "/var/lib/docker", "/var/lib/dockercni", "/var/lib/containerd"):
        inside, outside = host.path(path).stat(), Path(path).stat() if Path(path).exists() else None
        assert outside is None or (inside.st_dev, inside.st_ino) != (outside.st_dev, outside.st_ino), path
    assert list(host.path("/etc/cni").rglob("*")) == [host.path("/etc/cni/net.d")]


def test_engine_is_its_own(host: Host) -> None:
    """The engine that answers at the default socket has the host's containers and no others, in its cgroup."""
    name = host.docker("run", "--detach", "--network=none", IMAGE)
    assert host.docker("ps", "--quiet", "--no-trunc") == name
    pid = host.docker("inspect", "--format={{.State.Pid}}", name)
    assert host.engine.cgroup(name) in Path(f"/proc/{pid}/cgroup").read_text()
    assert host.run("ls", "/sys/class/net").stdout.split() == ["docker0", "lo", "out0"]


def test_published_port(host: Host, outside: Outside) -> None:
    """A port that is published on Docker's own bridge answers to the outside, one that is not does not."""
    host.docker("run", "--detach", "--name=web", "--publish=8080:80", IMAGE, *serve_tcp(80))
    reply = wait_until(lambda: _try(outside, 8080), 10, "the web server's answer")
    assert peer_of(reply) == outside.address
    assert peer_of(host.tcp_request(outside.host_address, 8080))
    with pytest.raises(NoAnswer):
        outside.tcp_request(outside.host_address, 8081, timeout=1)


def test_published_udp_port(host: Host, outside: Outside) -> None:
    """A container's UDP server answers every request, not only the first."""
    host.docker("run", "--detach", "--name=udp", *PYTHON_FLAGS, "--publish=5353:53/udp", IMAGE, *serve_udp(53))
    replies = [outside.udp_request(outside.host_address, 5353, timeout=10) for _ in range(5)]
    assert {peer_of(reply) for reply in replies} == {outside.address}


def test_outside_sees_masquerade(host: Host, outside: Outside) -> None:
    """The outside sees a container under the host's address, and has no way to the container itself."""
    host.docker("run", "--detach", "--name=web", IMAGE, *serve_tcp(80))
    outside.serve_tcp(7000)
    outside.serve_udp(7000)
    inside = host.container("web")
    assert peer_of(inside.tcp_request(outside.address, 7000)) == outside.host_address
    assert peer_of(inside.udp_request(outside.address, 7000)) == outside.host_address
    with pytest.raises(NoAnswer, match="unreachable"):
        outside.tcp_request(host.docker("inspect", "--format={{.NetworkSettings.IPAddress}}", "web"), 80)


def test_engine_killed_and_started(host: Host) -> None:
    """With live restore a container outlives its engine, containerd included."""
    host.stop_engine()
    host.start_engine(live_restore=True)
    host.docker("run", "--detach", "--name=live", "--network=none", IMAGE)
    before = host.docker("inspect", "--format={{.State.Pid}}", "live")
    host.kill_engine(containerd=True)
    assert Path(f"/proc/{before}").exists()
    host.start_engine()
    host.stop_engine()
    host.start_engine()


def test_leftovers_are_named_and_wiped(host: Host) -> None:
    """Leases, cache entries, pins, links and rules are named one by one, and are gone after a wipe."""
    assert leftovers(host) == []
    host.write("/var/lib/cni/networks/net/10.1.0.2", "x")
    host.write("/var/lib/cni/networks/net/last_reserved_ip.0", "x")
    host.write("/var/lib/cni/results/net-x-eth0", "{}")
    host.write("/run/netns/dockercni-x", "")
    host.run("ip", "link", "add", "veth1", "type", "veth", "peer", "name", "veth2")
    host.run("iptables", "-t", "nat", "-N", "CNI-DN-0123456789abcdef")
    host.run("iptables", "-I", "DOCKER-USER", "-i", "cni0", "-j", "ACCEPT")
    kinds = ["lease", "cache", "pin", "link", "link", "iptables", "iptables"]
    assert [line.split()[0] for line in leftovers(host)] == kinds
    wipe(host)
    assert leftovers(host) == []
    assert host.run("iptables", "-S", "DOCKER-USER").stdout.splitlines()[1:] == ["-A DOCKER-USER -j RETURN"]


VICTIM = """
from tests.hosts import IMAGE, Host, Outside, import_image
host = Host()
host.start_engine()
Outside(host)
import_image(host)
host.docker("run", "--detach", "--name=one", "--network=none", "--restart=always", IMAGE)
host.docker("run", "--detach", "--name=two", IMAGE)
host.docker("pause", "two")
host.popen("sleep", "86400")
print(host.name, flush=True)
input()
"""


def test_sweep_after_a_kill() -> None:
    """What a run that was killed has left behind is ended by the next, and only that."""
    with subprocess.Popen(
        [sys.executable, "-c", VICTIM], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as victim:
        assert victim.stdout
        name = victim.stdout.readline().strip()
        with exclusive():  # a test beside this one might sweep first
            victim.kill()
            victim.wait()
            assert Members(name).find()
    with subprocess.Popen(["sleep", "86400"], env={"PRIVATE_HOST": f"{name}0"}) as stranger:
        sweep()
        assert stranger.poll() is None
        stranger.kill()
    assert not Members(name).find()
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{name}"))


def test_end_leaves_nothing(host: Host) -> None:
    """The end of a host ends its processes and cgroups, and not those of another host."""
    with Host() as other:
        sleeper = other.popen("sleep", "86400")
        assert sleeper.pid in other.members.find()
    assert not sleeper.running
    assert not Members(other.name).find()
    assert host.engine.answers()


def _try(place: Outside, port: int) -> bytes:
    try:
        return place.tcp_request(place.host_address, port)
    except NoAnswer:
        return b""
