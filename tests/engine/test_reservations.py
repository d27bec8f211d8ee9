"""A published port belongs to its container, and the host's programs are told so."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import ask, network, request
from tests.engine.daemons import start_daemon
from tests.hosts import IMAGE, Host, NoAnswer, serve_tcp, wait_until

if TYPE_CHECKING:
    from tests.engine.daemons import Cli, Start

# connections that have just ended are not in the way of a listener, and so not of this one
BIND = """
import socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", 8080))
s.listen()
"""


def can_bind(host: Host) -> bool:
    return host.run("python3", "-c", BIND, check=False).returncode == 0


def test_port_is_held(host: Host, daemon: Start) -> None:
    """A program of the host cannot take a published port, before the container goes; afterwards it can."""
    running = daemon()
    assert can_bind(host)
    host.docker("run", "-d", "--name", "web", "--network", "none", "-p", "8080:80", IMAGE, *serve_tcp(80))
    running.wait_event("ADD", container="web")
    wait_until(lambda: not can_bind(host), 10, "the port is held")
    assert host.tcp_request("127.0.0.1", 8080)
    host.docker("rm", "-f", "web")
    running.wait_event("DEL", container="web")
    wait_until(lambda: can_bind(host), 10, "the port is free")


def test_holder_is_no_obstacle(host: Host, daemon: Start, cli: Cli) -> None:
    """The daemon's own hold on a port keeps nothing from publishing it again, after a damage as after a restart."""
    running = daemon()
    host.docker("run", "-d", "--name", "web", "--network", "none", "-p", "8080:80", IMAGE, *serve_tcp(80))
    running.wait_event("ADD", container="web")
    wait_until(lambda: not can_bind(host), 10, "the port is held")
    seen = len(running.log())
    host.container("web").run("ip", "link", "delete", "eth0")
    running.wait_event("ADD", container="web", after=seen)
    assert cli("sync").returncode == 0
    seen = len(running.log())
    host.docker("restart", "web")
    running.wait_event("ADD", container="web", after=seen)
    wait_until(lambda: host.tcp_request("127.0.0.1", 8080), 10, "published again")


DUAL = {
    "type": "host-local",
    "ranges": [[{"subnet": "10.78.1.0/24"}], [{"subnet": "fd00:78:1::/64"}]],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
}


def test_what_cannot_be_served_is_refused_at_once(host: Host, daemon: Start) -> None:
    """No client waits at [::1], where IPv6 cannot be redirected, nor over IPv6 where the container has none."""
    running = daemon()
    echo = ("-p", "8080:80", "-p", "8053:53/udp")
    host.docker("run", "-d", "--name", "four", "--network", "none", *echo, IMAGE, *serve_tcp(80))
    running.wait_event("ADD", container="four")
    wait_until(lambda: not can_bind(host), 10, "the port is held")
    assert ask(host, "tcp", "127.0.0.1", 8080)
    refused_at_once(host)
    host.docker("rm", "-f", "four")
    running.wait_event("DEL", container="four")
    network(host, "dual", "10.78.1.0/24", ipam=DUAL)
    host.docker("run", "-d", "--name", "both", "--network", "none", *echo, IMAGE, *serve_tcp(80))
    running.wait_event("ADD", container="both")
    wait_until(lambda: not can_bind(host), 10, "the port is held")
    assert ask(host, "tcp", "127.0.0.1", 8080)
    assert ask(host, "tcp", "fd00:78:1::1", 8080)
    refused_at_once(host)


def refused_at_once(host: Host) -> None:
    for protocol, port in (("tcp", 8080), ("udp", 8053)):
        with pytest.raises(NoAnswer, match="refused"):
            request(host, protocol, "::1", port, timeout=5)


def test_another_process_takes_it_back(host: Host, daemon: Start, cli: Cli) -> None:
    """What a command takes back beside the daemon, the daemon lets go, too."""
    running = daemon()
    host.docker("run", "-d", "--name", "web", "--network", "none", "-p", "8080:80", IMAGE, *serve_tcp(80))
    running.wait_event("ADD", container="web")
    wait_until(lambda: not can_bind(host), 10, "the port is held")
    os.kill(running.program.pid, signal.SIGSTOP)  # else it may see the link go before the record, and attach it anew
    try:
        cli("del", "web", check=True)
    finally:
        os.kill(running.program.pid, signal.SIGCONT)
    wait_until(lambda: can_bind(host), 10, "the port is free")


def test_thousands_of_ports(host: Host, daemon: Start, cli: Cli) -> None:
    """1,200 published ports are reserved and answer, and the daemon goes on to change rulesets and to attach."""
    running = daemon()
    ports = ("-p", "20000-21199:20000-21199")
    host.docker("run", "-d", "--name", "many", "--network", "none", *ports, IMAGE, *serve_tcp(21199))
    running.wait_event("ADD", container="many", timeout=60)
    held = f"/proc/{running.program.pid}/fd"
    wait_until(lambda: len(os.listdir(held)) > 1200, 20, "the reservations", lambda: len(os.listdir(held)))
    assert ask(host, "tcp", "127.0.0.1", 21199)
    assert len([fd for fd in os.listdir(held) if int(fd) < 1024]) < 200
    host.run("nft", "flush", "table", "inet", "dockercni")  # put back by libnftables
    wait_until(lambda: answers(host), 20, "the ruleset")
    network(host, "lan", "10.78.2.0/24")  # whose sets are made by libnftables
    host.docker("run", "-d", "--name", "next", "--network", "none", "-p", "8080:80", IMAGE, *serve_tcp(80))
    running.wait_event("ADD", container="next", network="lan")
    assert ask(host, "tcp", "127.0.0.1", 8080)
    host.docker("rm", "-f", "many", "next")
    running.wait_event("DEL", container="many")
    wait_until(lambda: len(os.listdir(held)) < 200, 20, "their end", lambda: len(os.listdir(held)))
    assert running.program.running


def answers(host: Host) -> bool:
    try:
        return bool(host.tcp_request("127.0.0.1", 21199, timeout=1))
    except NoAnswer:
        return False


def test_too_few_descriptors(host: Host) -> None:
    """Where more ports are published than the daemon may reserve, it says so once, and all of them are published."""
    running = start_daemon(host, through=("prlimit", "--nofile=400:400"))
    running.wait_event("ready")
    ports = ("-p", "20000-20599:20000-20599")
    host.docker("run", "-d", "--name", "many", "--network", "none", *ports, IMAGE, *serve_tcp(20599))
    running.wait_event("ADD", container="many", timeout=60)
    told = running.wait_event("published, but not reserved")
    assert "Too many open files" in told["reason"]
    assert ask(host, "tcp", "127.0.0.1", 20599)
    host.docker("run", "-d", "--name", "web", "--network", "none", "-p", "8080:80", IMAGE, *serve_tcp(80))
    running.wait_event("ADD", container="web")
    assert ask(host, "tcp", "127.0.0.1", 8080)
    host.docker("rm", "-f", "many", "web")
    running.wait_event("DEL", container="many")
    running.kill()
