"""Published ports: who reaches them, who does not reach the others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import address, ask, conflist, network, request, run
from tests.hosts import IMAGE, PYTHON_FLAGS, NoAnswer, peer_of, serve_tcp, serve_udp, wait_until

if TYPE_CHECKING:
    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host, Outside

PORT = 8080


def serve(host: Host, protocol: str, *flags: str) -> None:
    """A container `server` whose port 80 answers over the protocol."""
    if protocol == "tcp":
        run(host, "server", *flags, command=serve_tcp(80))
    else:
        run(host, "server", *PYTHON_FLAGS, *flags, command=serve_udp(80))


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_reached_from_everywhere(host: Host, outside: Outside, daemon: Start, protocol: str) -> None:
    """A published port answers the host by its address and by 127.0.0.1, another container, and another machine."""
    running = daemon()
    serve(host, protocol, f"--publish={PORT}:80/{protocol}")
    run(host, "client")
    running.wait_event("ADD", container="server")
    running.wait_event("ADD", container="client")
    client = host.container("client")
    assert peer_of(ask(outside, protocol, outside.host_address, PORT)) == outside.address
    assert b"peer=" in ask(host, protocol, outside.host_address, PORT)
    assert b"peer=" in ask(host, protocol, "127.0.0.1", PORT)
    assert b"peer=" in ask(client, protocol, outside.host_address, PORT)
    assert peer_of(ask(client, protocol, address(host, "server"), 80)) == address(host, "client")


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_unpublished_port_is_closed(host: Host, outside: Outside, daemon: Start, protocol: str) -> None:
    """A port that a container listens on but does not publish is closed to the outside, even with a route to it."""
    running = daemon()
    serve(host, protocol, "--publish=8081:81")
    running.wait_event("ADD", container="server")
    assert "-P FORWARD DROP" in host.run("iptables", "-S", "FORWARD").stdout
    inside = address(host, "server")
    assert b"peer=" in ask(host, protocol, inside, 80)  # it does listen
    outside.run("ip", "route", "add", f"{inside}/32", "via", outside.host_address)
    try:
        with pytest.raises(NoAnswer, match="timed out"):
            request(outside, protocol, inside, 80, timeout=1)
        # the way is there: with the one policy changed the same request gets through
        host.run("iptables", "-P", "FORWARD", "ACCEPT")
        assert b"peer=" in ask(outside, protocol, inside, 80)
    finally:
        host.run("iptables", "-P", "FORWARD", "DROP")
        outside.run("ip", "route", "del", f"{inside}/32")


def test_closed_with_the_container(host: Host, outside: Outside, daemon: Start) -> None:
    """The port of a container that is gone does not answer any more, and the next container can have it."""
    running = daemon()
    serve(host, "tcp", f"--publish={PORT}:80")
    running.wait_event("ADD", container="server")
    assert ask(outside, "tcp", outside.host_address, PORT)
    host.docker("rm", "--force", "server")
    running.wait_event("DEL", container="server")
    with pytest.raises(NoAnswer, match="refused"):
        outside.tcp_request(outside.host_address, PORT, timeout=2)
    before = len(running.log())
    run(host, "next", f"--publish={PORT}:80", command=serve_tcp(80))
    running.wait_event("ADD", container="next", after=before)
    assert ask(outside, "tcp", outside.host_address, PORT)


def test_only_on_one_address(host: Host, outside: Outside, daemon: Start) -> None:
    """`-p 127.0.0.1:8080:80` answers 127.0.0.1 and nobody else."""
    running = daemon()
    serve(host, "tcp", f"--publish=127.0.0.1:{PORT}:80")
    running.wait_event("ADD", container="server")
    assert ask(host, "tcp", "127.0.0.1", PORT)
    for place in (host, outside):
        with pytest.raises(NoAnswer, match="refused"):
            place.tcp_request(outside.host_address, PORT, timeout=2)


def test_masquerade(host: Host, outside: Outside, daemon: Start) -> None:
    """What a container sends to the outside comes from the host's address, over TCP and UDP."""
    running = daemon()
    run(host, "client")
    running.wait_event("ADD", container="client")
    outside.serve_tcp(7100)
    outside.serve_udp(7100)
    client = host.container("client")
    assert peer_of(ask(client, "tcp", outside.address, 7100)) == outside.host_address
    assert peer_of(ask(client, "udp", outside.address, 7100)) == outside.host_address


def test_on_the_first_network_that_can(host: Host, outside: Outside, daemon: Start) -> None:
    """With two networks the ports are published on the first one that declares the capability, and only there."""
    host.write(
        "/etc/cni/net.d/10-bare.conflist",
        '{"cniVersion": "1.0.0", "name": "bare", "plugins": [{"type": "bridge", "bridge": "cni-bare", "isGateway": '
        'true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.3.0/24"}]]}}]}',
    )
    network(host, "lan", "10.77.4.0/24")
    running = daemon("--backend=exec")  # whose rules iptables lists
    serve(host, "tcp", f"--publish={PORT}:80", "--label=dockercni.networks=bare,lan")
    running.wait_event("ADD", container="server", network="lan", ifname="eth1")
    assert ask(outside, "tcp", outside.host_address, PORT)
    assert "10.77.4." in host.run("iptables", "-t", "nat", "-S").stdout.partition(f"--dport {PORT}")[2]


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "unwatched"])
def test_the_port_goes_with_its_container(host: Host, outside: Outside, daemon: Start, watched: bool) -> None:
    """A container that joined the namespace of a removed one keeps neither its port nor its address from the next, be
    the other one removed while no daemon runs."""
    running = daemon()
    serve(host, "tcp", f"--publish={PORT}:80", "--label=dockercni.ip=10.22.0.77")
    running.wait_event("ADD", container="server")
    host.docker("run", "--detach", "--name=joined", "--network=container:server", IMAGE, "sleep", "86400")
    if not watched:
        running.stop()
    host.docker("rm", "--force", "server")
    seen = len(running.log())
    serve(host, "tcp", f"--publish={PORT}:80", "--label=dockercni.ip=10.22.0.77")
    if watched:
        running.wait_event("ADD", container="server", after=seen)
    else:
        daemon().wait_event("ADD", container="server")
    assert ask(outside, "tcp", outside.host_address, PORT)
    assert "eth0" not in host.container("joined").run("ip", "link").stdout
    assert json.loads(host.docker("inspect", "joined"))[0]["State"]["Running"]


def test_elements_that_no_record_explains(host: Host, outside: Outside, daemon: Start, cli: Cli) -> None:
    """After cache, state and run directories were emptied by hand, what is left of a container is named and removed."""
    network(host, "lost", "10.78.9.0/24")  # an address that is used nowhere else on this machine
    serve(host, "tcp", f"--publish={PORT}:80")
    assert cli("sync", "--backend=builtin").returncode == 0  # executables have no elements
    for directory in ("/var/lib/cni", "/var/lib/dockercni", "/run/dockercni"):
        host.run("find", directory, "-mindepth", "1", "-delete")
    host.docker("rm", "--force", "server")
    host.run("sh", "-c", "umount /run/netns/dockercni-* || :; rm -f /run/netns/dockercni-*")
    words = f"port {PORT}/tcp of the host leads to 10.78.9.2:80 of container "
    host.run("ip", "netns", "add", "other")  # another runtime's, whose records are elsewhere
    host.run("ip", "-n", "other", "address", "add", "10.78.9.2/24", "dev", "lo")
    try:
        lived = cli("sync").stdout
    finally:
        host.run("ip", "netns", "delete", "other")
    assert f"NOTE {words}" in lived
    assert "(not known to be created by dockercni: left alone)" in lived
    assert f"rules: no record explains {words}" in cli("doctor").stdout
    for command in ("sync", "gc"):
        planned = cli(command, "--dry-run")
        assert (planned.returncode, f"would GC {words}" in planned.stdout) == (3, True)
    assert f"GC {words}" in cli("gc").stdout
    assert words not in cli("sync", "--dry-run").stdout
    run(host, "next", f"--publish={PORT}:80", command=serve_tcp(80))
    assert cli("sync").returncode == 0
    assert ask(outside, "tcp", outside.host_address, PORT)


FORGOTTEN = """
find /var/lib/cni /var/lib/dockercni /run/dockercni -mindepth 1 -delete
for command in iptables ip6tables; do
    $command -D FORWARD -j DOCKERCNI-FORWARD && $command -F DOCKERCNI-FORWARD && $command -X DOCKERCNI-FORWARD
done
"""


def test_a_policy_that_no_record_explains(host: Host, cli: Cli) -> None:
    """The ingress policy of a bridge that nobody knows any more is named while the bridge has ports, then removed."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.78.9.0/24"}]]}
    bridge = {"type": "bridge", "bridge": "cni-lost", "isGateway": True, "ipam": ipam}
    conflist(host, "lost", [bridge, {"type": "firewall", "ingressPolicy": "same-bridge"}])
    run(host, "server")
    cli("sync", "--backend=builtin", check=True)
    assert "GC" not in cli("sync", "--dry-run", check=True).stdout
    host.run("sh", "-c", f"rm /etc/cni/net.d/*; {FORGOTTEN}")
    words = "ingress policy of bridge cni-lost in table inet dockercni"
    assert f"NOTE {words} (not known to be created by dockercni: left alone)" in cli("gc", "--dry-run").stdout
    host.docker("rm", "--force", "server")
    host.run("sh", "-c", "umount /run/netns/dockercni-* || :; rm -f /run/netns/dockercni-*")
    wait_until(lambda: "master cni-lost" not in host.run("ip", "link").stdout, 20, "the end of the port")
    planned = cli("gc", "--dry-run")
    assert (planned.returncode, f"would GC {words}" in planned.stdout) == (3, True)
    assert f"rules: no record explains {words}" in cli("doctor").stdout
    assert f"GC {words}" in cli("gc", check=True).stdout
    assert "cni-lost" not in host.run("nft", "list", "table", "inet", "dockercni").stdout
