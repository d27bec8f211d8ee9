"""Ports of the host that nobody named: `-p 80`, `-P`, ranges."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.engine.containers import ask, run
from tests.hosts import serve_tcp

if TYPE_CHECKING:
    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host


def ports(cli: Cli, name: str) -> list[str]:
    """What `ps` says is published for a container."""
    (found,) = json.loads(cli("ps", name, "-o", "json", check=True).stdout)["attachments"]
    return list(found["ports"])


def host_port(mapping: str) -> int:
    """0.0.0.0:8080->80/tcp: 8080."""
    return int(mapping.partition("->")[0].rpartition(":")[2])


def test_port_is_chosen(host: Host, daemon: Start, cli: Cli) -> None:
    """`-p 80` and `-P` get a free port of the host each, which `ps` shows and which answers."""
    running = daemon()
    run(host, "one", "--publish=80", command=serve_tcp(80))
    run(host, "all", "--publish-all", "--expose=80", "--expose=53/udp", command=serve_tcp(80))
    running.wait_event("ADD", container="one")
    running.wait_event("ADD", container="all")
    (one,) = ports(cli, "one")
    both = ports(cli, "all")
    assert one.endswith("->80/tcp")
    assert sorted(mapping.partition("->")[2] for mapping in both) == ["53/udp", "80/tcp"]
    web = next(mapping for mapping in both if mapping.endswith("80/tcp"))
    assert host_port(one) != host_port(web)
    for mapping in (one, web):
        assert ask(host, "tcp", "127.0.0.1", host_port(mapping))


def test_range_for_one_port(host: Host, daemon: Start, cli: Cli) -> None:
    """`-p 9000-9001:80` takes a port that is free; two containers share the range, and a third one finds none."""
    running = daemon()
    for name in ("first", "second"):
        run(host, name, "--publish=9000-9001:80", command=serve_tcp(80))
        running.wait_event("ADD", container=name)
    assert {host_port(*ports(cli, name)) for name in ("first", "second")} == {9000, 9001}
    for port in (9000, 9001):
        assert ask(host, "tcp", "127.0.0.1", port)
    run(host, "third", "--publish=9000-9001:80", command=serve_tcp(80))
    failed = running.wait_event("ADD failed", container="third")
    assert "9000-9001" in failed["reason"]
    host.docker("rm", "--force", "first")
    running.wait_event("DEL", container="first")
    running.wait_event("ADD", container="third")  # the retry finds it
    assert host_port(*ports(cli, "third")) == 9000


def test_range_avoids_what_the_host_uses(host: Host, daemon: Start, cli: Cli) -> None:
    """A port of the range that a program of the host listens on is passed over."""
    running = daemon()
    server = host.serve_tcp(9100)
    try:
        run(host, "web", "--publish=9100-9101:80")
        running.wait_event("ADD", container="web")
        assert ports(cli, "web") == ["0.0.0.0:9101->80/tcp"]
    finally:
        server.stop()


def test_range_to_range(host: Host, daemon: Start, cli: Cli) -> None:
    """`-p 9200-9201:80-81` maps port by port."""
    running = daemon()
    run(host, "web", "--publish=9200-9201:80-81")
    running.wait_event("ADD", container="web")
    assert sorted(ports(cli, "web")) == ["0.0.0.0:9200->80/tcp", "0.0.0.0:9201->81/tcp"]
