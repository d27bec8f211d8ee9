"""Networks whose addresses come from a DHCP server."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.engine.containers import addresses, conflist, run
from tests.hosts import dhcp, wait_until
from tests.netns.hosted import plugin_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host
    from tests.hosts.commands import Background

pytestmark = pytest.mark.skipif(
    shutil.which("dnsmasq", path="/usr/sbin:/usr/bin:/sbin:/bin") is None, reason="needs dnsmasq"
)

PLUGIN = plugin_directory() / "dhcp"
IPAM: dict[str, Any] = {"type": "dhcp", "request": [{"option": "58"}]}
KINDS: dict[str, dict[str, Any]] = {
    "bridge": {"type": "bridge", "bridge": "br-lan", "ipam": IPAM},
    "macvlan": {"type": "macvlan", "master": "port0", "ipam": IPAM},
}


@pytest.fixture(autouse=True)
def bridge(host: Host) -> Iterator[None]:
    """A bridge that is the server's network, and a link to it for macvlan."""
    for words in (
        "link add br-lan type bridge",
        "address add 10.57.0.1/24 dev br-lan",
        "link set br-lan up",
        "link add port0 type veth peer name port1",
        "link set port0 up",
        "link set port1 up master br-lan",
    ):
        host.run("ip", *words.split())
    yield
    for link in ("br-lan", "port0"):
        host.run("ip", "link", "delete", link)
    host.path(dhcp.SOCKET).unlink(missing_ok=True)
    host.path(dhcp.LEASES).unlink(missing_ok=True)


def server(host: Host) -> Background:
    """A DHCP server on the bridge."""
    return dhcp.start_server(host, "br-lan", "10.57.0.100", "10.57.0.110")


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_is_dead(host: Host, daemon: Start, kind: str) -> None:
    """Where no server answers, that is said before the hold's limit, with the link that was asked; and tried again."""
    dhcp.start_daemon(host, PLUGIN)
    conflist(host, "lan", [KINDS[kind]])
    running = daemon("--hold=8s", "--on-failure=hold")
    run(host, "web")
    failed = running.wait_event("ADD failed", container="web")
    released = running.wait_event("released", container="web")
    assert failed["timestamp"] < released["timestamp"]
    expected = {"bridge": "br-lan", "macvlan": "port0"}[kind]
    assert f"IPAM plugin dhcp got no answer: no DHCP server serves {expected}" in failed["reason"]
    server(host)
    running.wait_event("ADD", timeout=60, container="web")
    assert addresses(host, "web")[0].startswith("10.57.0.1")


def test_a_daemon_that_does_not_run(host: Host, daemon: Start) -> None:
    """Without the plugin's daemon the reason is that, and how to start it."""
    conflist(host, "lan", [KINDS["macvlan"]])
    running = daemon()
    run(host, "web")
    reason = running.wait_event("ADD failed", container="web")["reason"]
    assert f"nobody listens on {dhcp.SOCKET} (systemctl enable --now dockercni-dhcp.socket)" in reason


@pytest.mark.parametrize("kind", KINDS)
def test_a_daemon_that_is_started_anew(host: Host, daemon: Start, cli: Cli, kind: str) -> None:
    """It takes up each lease once, by itself; until then nothing is converged. A restart of ours repeats nothing."""
    leases = server(host)
    first = dhcp.start_daemon(host, PLUGIN)
    conflist(host, "lan", [KINDS[kind]])
    running = daemon()
    for name in ("web", "db"):
        run(host, name)
        running.wait_event("ADD", container=name)
    before = addresses(host, "web")
    assert cli("status").returncode == 0
    dhcp.end(first)
    host.path(dhcp.SOCKET).unlink()
    failed = running.wait_event("REPAIR failed", container="web")
    assert dhcp.SOCKET in failed["reason"]
    done = cli("status")
    assert done.returncode == 3
    assert "web" in done.stdout
    assert dhcp.SOCKET in done.stdout
    assert cli("check").returncode == 3
    second = dhcp.start_daemon(host, PLUGIN)
    for name in ("web", "db"):
        running.wait_event("REPAIR", container=name)
    wait_until(lambda: cli("status").returncode == 0, 20, "convergence", lambda: cli("status").stdout)
    wait_until(lambda: "lease renewed" in second.text(), 20, "a renewal", second.text)
    running.stop()
    again = daemon()
    cli("sync", check=True)
    host.docker("rm", "--force", "db")
    again.wait_event("DEL", container="db")
    assert second.text().count("lease acquired") == 2
    assert addresses(host, "web") == before
    host.docker("rm", "--force", "web")
    wait_until(lambda: leases.text().count("DHCPRELEASE") == 2, 20, "the releases", leases.text)


def test_an_address_that_was_given_away(host: Host, daemon: Start) -> None:
    """If the server gives another address when the lease is taken up again, the container is attached with that one."""
    first_server = server(host)
    first = dhcp.start_daemon(host, PLUGIN)
    conflist(host, "lan", [KINDS["macvlan"]])
    running = daemon()
    run(host, "web")
    running.wait_event("ADD", container="web")
    before = addresses(host, "web")
    dhcp.end(first)
    dhcp.end(first_server)
    host.path(dhcp.LEASES).unlink()
    dhcp.start_server(host, "br-lan", "10.57.0.200", "10.57.0.210")
    seen = len(running.log())
    dhcp.start_daemon(host, PLUGIN)
    lost = running.wait_event("REPAIR failed", container="web", after=seen)
    while "10.57.0.2" not in lost["reason"]:  # until the daemon listens
        lost = running.wait_event("REPAIR failed", container="web", after=running.log().index(lost) + 1)
    running.wait_event("ADD", container="web", after=seen)
    assert addresses(host, "web")[0].startswith("10.57.0.2")
    assert addresses(host, "web") != before
