"""A published port belongs to its container, and the host's programs are told so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.hosts import IMAGE, Host, serve_tcp, wait_until

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
    """The daemon's own hold on a port keeps neither a restart nor a sync from publishing it again."""
    running = daemon()
    host.docker("run", "-d", "--name", "web", "--network", "none", "-p", "8080:80", IMAGE, *serve_tcp(80))
    running.wait_event("ADD", container="web")
    wait_until(lambda: not can_bind(host), 10, "the port is held")
    host.container("web").run("ip", "link", "delete", "eth0")
    assert "ADD web dockercni eth0" in cli("sync", check=True).stdout
    seen = len(running.log())
    host.docker("restart", "web")
    running.wait_event("ADD", container="web", after=seen)
    wait_until(lambda: host.tcp_request("127.0.0.1", 8080), 10, "published again")
