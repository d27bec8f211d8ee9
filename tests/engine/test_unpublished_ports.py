"""What the engine and the administrator say of published ports, and ports that cannot be published."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import ask, conflist, network, run, wait_attached
from tests.hosts import NoAnswer, serve_tcp

if TYPE_CHECKING:
    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host, Outside

BARE = {
    "type": "bridge",
    "bridge": "cni-bare",
    "isGateway": True,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.3.0/24"}]]},
}
MACVLAN = {
    "type": "macvlan",
    "master": "out0",
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.5.0/24"}]]},
}
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}
CASES = {
    "no portmap": ([BARE], "80:80", "80/tcp not published: network lan has no plugin with the capability portMappings"),
    "macvlan": ([MACVLAN, PORTMAP], "80:80", "80/tcp not published: network lan is macvlan, whose containers"),
    "no IPv6": ([BARE, PORTMAP], "[::]:80:80", "[::]:80/tcp not published: the container has no IPv6 address"),
}


@pytest.mark.parametrize("case", CASES)
def test_ports_that_lead_nowhere_are_drift(host: Host, daemon: Start, cli: Cli, case: str) -> None:
    """The container has its network, and log, ps, status, sync and explain all say why its port is not published."""
    plugins, port, words = CASES[case]
    conflist(host, "lan", plugins)
    running = daemon()
    run(host, "web", f"--publish={port}")
    wait_attached(host, "web")
    assert words in running.wait_event("drift", container="web")["reason"]
    (row,) = json.loads(cli("ps", "-o", "json").stdout)["attachments"]
    assert words in row["unpublished"]
    assert words in cli("ps").stdout
    assert f"drift: web: {words}" in cli("status").stdout
    assert json.loads(cli("status", "-o", "json").stdout)["converged"] is False
    assert words in cli("sync").stdout
    assert words in cli("explain", "web").stdout


def test_families_are_apart(host: Host, outside: Outside, daemon: Start, cli: Cli) -> None:
    """`-p 0.0.0.0:8085:80 -p [::]:8085:80` is fine in one container, and in two; `ps` shows the families served."""
    ranges = [[{"subnet": "10.78.3.0/24"}], [{"subnet": "fd00:78:3::/64"}]]
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    network(host, "dual", "", ipam={"type": "host-local", "ranges": ranges, "routes": routes})
    running = daemon()
    run(host, "web", "--publish=0.0.0.0:8085:80", "--publish=[::]:8085:80", command=serve_tcp(80))
    run(host, "four", "--publish=0.0.0.0:8086:80", command=serve_tcp(80))
    assert running.wait_event("ADD", container="web")["ports"] == ["0.0.0.0:8085->80/tcp", "[::]:8085->80/tcp"]
    assert running.wait_event("ADD", container="four")["ports"] == ["0.0.0.0:8086->80/tcp"]
    run(host, "six", "--publish=[::]:8086:80", command=serve_tcp(80))
    running.wait_event("ADD", container="six")
    for where, port in ((outside.host_address, 8085), ("fd00:78:3::1", 8085), (outside.host_address, 8086)):
        assert ask(host, "tcp", where, port)
    assert b"name=" + host.docker("inspect", "--format={{.Config.Hostname}}", "six").encode() in ask(
        host, "tcp", "fd00:78:3::1", 8086
    )
    found = {row["container"]: row["ports"] for row in json.loads(cli("ps", "-o", "json").stdout)["attachments"]}
    assert found["web"] == ["0.0.0.0:8085->80/tcp", "[::]:8085->80/tcp"]
    assert (found["four"], found["six"]) == (["0.0.0.0:8086->80/tcp"], ["[::]:8086->80/tcp"])


def test_the_engines_default_address(host: Host, outside: Outside, daemon: Start, cli: Cli) -> None:
    """`"ip": "127.0.0.1"` holds for ports without an address, also when they start before the engine answers."""
    host.stop_engine()
    host.start_engine("--ip=127.0.0.1")
    running = daemon()
    run(host, "web", "--publish=8081:80", "--restart=always", command=serve_tcp(80))
    run(host, "open", f"--publish={outside.host_address}:8082:80", command=serve_tcp(80))
    running.wait_event("ADD", container="web")
    running.wait_event("ADD", container="open")
    closed(host, outside)
    assert ask(outside, "tcp", outside.host_address, 8082)
    (row,) = json.loads(cli("ps", "web", "-o", "json").stdout)["attachments"]
    assert row["ports"] == ["127.0.0.1:8081->80/tcp"]
    running.stop()
    host.stop_engine()
    again = daemon(wait=False)
    host.start_engine("--ip=127.0.0.1")
    again.wait_event("ADD", container="web")
    closed(host, outside)
    host.stop_engine()
    host.start_engine()
    host.docker("restart", "web")
    assert ask(outside, "tcp", outside.host_address, 8081, timeout=20)


def closed(host: Host, outside: Outside) -> None:
    assert ask(host, "tcp", "127.0.0.1", 8081)
    with pytest.raises(NoAnswer, match="refused"):
        outside.tcp_request(outside.host_address, 8081, timeout=2)
