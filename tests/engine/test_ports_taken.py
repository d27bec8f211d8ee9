"""A port of the host that somebody has already is not taken from them: the ADD fails, and says who has it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.hosts import IMAGE, Host, Outside, leftovers, peer_of, serve_tcp

if TYPE_CHECKING:
    import subprocess

    from tests.engine.daemons import Daemon

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def run(host: Host, name: str, *flags: str, port: int = 80) -> None:
    """Start a container that has to get its networks from dockercni."""
    host.docker("run", "--detach", f"--name={name}", "--network=none", *flags, IMAGE, *serve_tcp(port))


def nothing_of(host: Host, name: str) -> None:
    """The container has no interface, and nothing was allocated for anybody."""
    assert host.container(name).run("ls", "/proc/sys/net/ipv4/conf").stdout.split() == ["all", "default", "lo"]
    assert [line for line in leftovers(host) if line.startswith(("lease", "cache")) or "CNI" in line] == []


@pytest.mark.parametrize("flag", ["8080:80", "127.0.0.1:8080:80", "0.0.0.0:8080:80", "8080:80/udp"])
def test_a_process_listens(host: Host, cli: Cli, flag: str) -> None:
    """A server of the host keeps its port; the message has its name and process id."""
    server = host.serve_udp(8080) if "udp" in flag else host.serve_tcp(8080)
    run(host, "web", f"--publish={flag}")
    done = cli("sync")
    protocol = "udp" if "udp" in flag else "tcp"
    assert done.returncode == 4
    found = re.search(rf"port 8080/{protocol} of the host is taken: (\S+) \(process (\d+)\) listens on", done.stdout)
    assert found, done.stdout
    assert int(found[2]) == server.pid
    nothing_of(host, "web")
    if protocol == "tcp":
        assert peer_of(host.tcp_request("127.0.0.1", 8080)) == "127.0.0.1"


NO_BIND = ("setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service")


@pytest.mark.parametrize("backend", ["builtin", "exec"])
def test_without_the_right_to_bind(host: Host, cli: Cli, backend: str) -> None:
    """Without CAP_NET_BIND_SERVICE a port below 1024 is not taken to be free, and a server of the host keeps it."""
    host.serve_tcp(80)
    run(host, "web", "--publish=80:80")
    done = cli("sync", f"--backend={backend}", through=NO_BIND)
    assert done.returncode == 4
    assert "it is not clear whether port 80/tcp of the host is free" in done.stdout
    assert "CAP_NET_BIND_SERVICE" in done.stdout
    assert "CAP_NET_BIND_SERVICE" in cli("doctor", through=NO_BIND).stdout
    nothing_of(host, "web")
    done = cli("sync", f"--backend={backend}")
    assert re.search(r"port 80/tcp of the host is taken: \S+ \(process \d+\) listens on", done.stdout), done.stdout
    nothing_of(host, "web")


def test_another_address_is_free(host: Host, outside: Outside, cli: Cli) -> None:
    """A server on 127.0.0.1 is no obstacle for a port that is published on another address."""
    host.popen("busybox", "httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/")
    host.wait_until(lambda: ":1F90" in host.run("cat", "/proc/net/tcp").stdout, 10, "the server")
    run(host, "web", f"--publish={outside.host_address}:8080:80")
    assert cli("sync").returncode == 0
    assert peer_of(outside.tcp_request(outside.host_address, 8080)) == outside.address


def test_connections_are_no_listeners(host: Host, outside: Outside, cli: Cli) -> None:
    """A connection of the host that happens to have the port on its side is no obstacle."""
    outside.serve_tcp(7000)
    script = (
        "import socket,time; s=socket.socket(); s.bind(('', 8090)); "
        f"s.connect(('{outside.address}', 7000)); print('connected', flush=True); time.sleep(600)"
    )
    client = host.popen("python3", "-c", script)
    host.wait_until(lambda: "connected" in client.text(), 10, "the connection", client.text)
    run(host, "web", "--publish=8090:80")
    done = cli("sync")
    assert done.returncode == 0, done.stdout


def test_another_container_of_ours_publishes(host: Host, outside: Outside, cli: Cli) -> None:
    """The second container with the same port gets no network, and the first one keeps answering."""
    run(host, "first", "--publish=8080:80")
    assert cli("sync").returncode == 0
    run(host, "second", "--publish=8080:80")
    done = cli("sync")
    assert done.returncode == 4
    assert "ADD second dockercni eth0 failed: port 8080/tcp of the host is published by container first" in done.stdout
    assert json.loads(cli("ps", "-o", "json").stdout)["attachments"][0]["container"] == "first"
    assert len(list(host.path("/var/lib/cni/networks/dockercni").glob("10.*"))) == 1
    first = host.docker("inspect", "--format={{.Config.Hostname}}", "first")
    assert first.encode() in outside.tcp_request(outside.host_address, 8080)


def test_two_at_once(host: Host, daemon: Callable[..., Daemon]) -> None:
    """Of several containers that ask for one port at the same time, one gets it."""
    daemon()
    names = [f"web{number}" for number in range(4)]
    for name in names:
        host.docker("create", f"--name={name}", "--network=none", "--publish=8080:80", IMAGE)
    host.docker("start", *names)

    def settled() -> bool:
        found = json.loads(host.read("/run/dockercni/status.json"))["failing"]
        return len(found) == 3 and all(
            "is published by container web" in one["parts"][0]["reason"] for one in found.values()
        )

    host.wait_until(settled, 30, "three that fail", lambda: host.read("/run/dockercni/status.json"))
    attached = [name for name in names if "eth0" in host.container(name).run("ip", "link").stdout]
    assert len(attached) == 1


def test_the_port_comes_free(host: Host, outside: Outside, daemon: Callable[..., Daemon]) -> None:
    """When whoever has the port ends, the container gets its network without being started anew."""
    server = host.serve_tcp(8080)
    log = daemon()
    run(host, "web", "--publish=8080:80")
    log.wait_event("ADD failed", container="web")
    server.kill()
    log.wait_event("ADD", container="web")
    assert peer_of(outside.tcp_request(outside.host_address, 8080)) == outside.address


def test_a_container_that_replaces_another(host: Host, outside: Outside, daemon: Callable[..., Daemon]) -> None:
    """A container that takes the place of one just removed gets its port at the first try."""
    log = daemon()
    run(host, "web", "--publish=8080:80")
    log.wait_event("ADD", container="web")
    for _ in range(3):
        before = len(log.log())
        host.docker("rm", "--force", "web")
        run(host, "web", "--publish=8080:80")
        log.wait_event("ADD", container="web", after=before)
    assert not [event for event in log.log() if event["event"] == "ADD failed"]
    host.wait_until(lambda: len(list(host.path("/var/lib/cni/networks/dockercni").glob("10.*"))) == 1, 10, "one lease")
    assert peer_of(outside.tcp_request(outside.host_address, 8080)) == outside.address


def test_dockers_proxy_has_it(host: Host, outside: Outside, cli: Cli) -> None:
    """A port that Docker publishes stays Docker's; the message says for which address."""
    host.docker("run", "--detach", "--name=docks", "--publish=8080:80", IMAGE, *serve_tcp(80))
    address = host.docker("inspect", "--format={{.NetworkSettings.IPAddress}}", "docks")
    run(host, "web", "--publish=8080:80")
    done = cli("sync")
    assert done.returncode == 4
    words = rf"docker-proxy \(process \d+\) publishes it for {re.escape(address)}:80 on one of Docker's own networks"
    assert re.search(words, done.stdout), done.stdout
    nothing_of(host, "web")
    assert peer_of(outside.tcp_request(outside.host_address, 8080)) == outside.address


def test_asked_for_twice(host: Host, cli: Cli) -> None:
    """A container that asks for one port of the host twice is told so."""
    run(host, "web", "--publish=8080:80", "--publish=8080:81")
    done = cli("sync")
    assert (done.returncode, "port 8080/tcp of the host is asked for twice by this container" in done.stdout) == (
        4,
        True,
    )
    nothing_of(host, "web")


def test_where_there_is_a_choice_the_next_is_taken(host: Host, cli: Cli) -> None:
    """Of a range the first port that nobody has is published."""
    host.serve_tcp(8080)
    run(host, "web", "--publish=8080-8090:80")
    assert cli("sync").returncode == 0
    assert json.loads(cli("ps", "-o", "json").stdout)["attachments"][0]["ports"] == ["0.0.0.0:8081->80/tcp"]
