"""A layer 2 network over three hosts, with a DHCP server on one of the others, and FORWARD at DROP for bridges too."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.engine.containers import address, conflist, run
from tests.hosts import dhcp, peer_of, serve_tcp, wait_until
from tests.hosts.overlay import BRIDGE, MTU, Overlay
from tests.netns.hosted import plugin_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.daemons import Start
    from tests.hosts import Host
    from tests.hosts.commands import Background

pytestmark = pytest.mark.skipif(
    shutil.which("dnsmasq", path="/usr/sbin:/usr/bin:/sbin:/bin") is None, reason="needs dnsmasq"
)
IPAM = {"type": "dhcp", "provide": [{"option": "host-name", "fromArg": "HOSTNAME"}]}
NETWORK: dict[str, Any] = {"type": "bridge", "bridge": BRIDGE, "ipam": IPAM}
SWITCH = "net.bridge.bridge-nf-call-iptables"


@pytest.fixture
def overlay(host: Host) -> Iterator[Overlay]:
    """Three hosts; frames on the bridge of the one with the engine pass its FORWARD chain, whose policy is DROP."""
    if host.run("sysctl", "-n", SWITCH, check=False).returncode:
        pytest.skip("this kernel has no br_netfilter")
    host.run("sysctl", "-w", f"{SWITCH}=1")
    three = Overlay(host, 2)
    yield three
    three.close()
    host.run("sysctl", "-w", f"{SWITCH}=0")


@pytest.fixture
def server(host: Host, overlay: Overlay) -> Iterator[Background]:
    """The DHCP server on the first neighbour."""
    started = dhcp.start_server(host, BRIDGE, "10.57.0.100", "10.57.0.110", place=overlay.neighbours[0])
    yield started
    host.path(dhcp.LEASES).unlink(missing_ok=True)


@pytest.fixture
def keeper(host: Host) -> Iterator[Background]:
    """The plugin's daemon on the host with the engine."""
    yield dhcp.start_daemon(host, plugin_directory() / "dhcp")
    host.path(dhcp.SOCKET).unlink(missing_ok=True)


def link(host: Host, name: str) -> dict[str, Any]:
    """The interface of a container."""
    (found,) = json.loads(host.container(name).run("ip", "-json", "link", "show", "dev", "eth0").stdout)
    return dict(found)


def test_a_container_among_hosts(
    host: Host, daemon: Start, overlay: Overlay, server: Background, keeper: Background
) -> None:
    """It gets its lease from another host at once, its frames fit, all hosts reach it, and the lease goes with it."""
    conflist(host, "lan", [NETWORK])
    running = daemon()
    run(host, "web", command=serve_tcp(80))
    running.wait_event("ADD", container="web")
    if os.environ.get("DOCKERCNI_BACKEND") != "exec":  # the reference bridge has it ask while the link is down
        assert "retrying" not in keeper.text()
    assert link(host, "web")["mtu"] == MTU
    where = address(host, "web")
    assert f"{where} web " in host.read(dhcp.LEASES)  # the server knows its name, which a DNS server can tell others
    for number, neighbour in enumerate(overlay.neighbours, start=1):
        reply = wait_until(lambda place=neighbour: place.tcp_request(where, 80), 10, "an answer")  # type: ignore[misc]
        assert peer_of(reply) == f"10.57.0.{number}"
    overlay.neighbours[1].serve_tcp(7000)
    assert peer_of(host.container("web").tcp_request("10.57.0.2", 7000)) == where
    host.docker("rm", "--force", "web")
    wait_until(lambda: f"DHCPRELEASE({BRIDGE}) {where}" in server.text(), 10, "the release", server.text)


@pytest.mark.usefixtures("keeper")
def test_a_restart_that_no_neighbour_hears_of(host: Host, daemon: Start, overlay: Overlay, server: Background) -> None:
    """A host whose neighbour table nobody may change (ARP suppression) reaches a container that was restarted."""
    conflist(host, "lan", [NETWORK])
    running = daemon()
    run(host, "web", command=serve_tcp(80))
    running.wait_event("ADD", container="web")
    where, mac = address(host, "web"), link(host, "web")["address"]
    quiet = overlay.neighbours[1]
    quiet.run("ip", "neighbour", "replace", where, "lladdr", mac, "dev", BRIDGE, "nud", "permanent")
    seen = len(running.log())
    host.docker("restart", "--time=0", "web")
    running.wait_event("ADD", container="web", after=seen)
    assert address(host, "web") == where, server.text()
    assert wait_until(lambda: quiet.tcp_request(where, 80), 10, "an answer")
