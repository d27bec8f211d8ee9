"""What a bridge network gives its IPAM plugin to work over, and what its links can carry, by either backend."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.hosts import dhcp, wait_until
from tests.netns.hosted import plugin_directory
from tests.netns.native.conftest import chain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hosts.commands import Background
    from tests.netns.native.conftest import Attached

BACKENDS = ["builtin", "exec"]
DHCP: dict[str, Any] = {
    "cniVersion": "1.0.0",
    "name": "net",
    "plugins": [{"type": "bridge", "bridge": "br-test", "ipam": {"type": "dhcp"}}],
}
needs_dnsmasq = pytest.mark.skipif(
    shutil.which("dnsmasq", path="/usr/sbin:/usr/bin:/sbin:/bin") is None, reason="needs dnsmasq"
)


@dataclass(frozen=True, slots=True)
class Leases:
    """Who gives leases, and who keeps them: the server and the daemon of the plugin."""

    server: Background
    keeper: Background


@pytest.fixture
def leases(attached: Attached) -> Iterator[Leases]:
    """A DHCP server on a bridge, and the daemon of the plugin."""
    for words in ("link add br-test type bridge", "addr add 10.57.0.1/24 dev br-test", "link set br-test up"):
        attached.host.run("ip", *words.split())
    started = dhcp.start_server(attached.host, "br-test", "10.57.0.100", "10.57.0.110")
    keeper = dhcp.start_daemon(attached.host, plugin_directory() / "dhcp")
    yield Leases(started, keeper)
    dhcp.end(keeper)
    dhcp.end(started)


def mtu(attached: Attached, link: str, *where: str) -> int:
    """The MTU of a link of the host, or of a namespace with `where` ("-n", name)."""
    return int(json.loads(attached.host.run("ip", *where, "-j", "link", "show", link).stdout)[0]["mtu"])


@needs_dnsmasq
def test_a_lease_takes_no_longer_than_its_server(attached: Attached, leases: Leases) -> None:
    """The DHCP server is asked when the question can reach it, so that nobody waits seconds for it to be repeated."""
    attached.container("c1")
    attached.add(DHCP)
    assert "lease acquired" in leases.keeper.text()
    assert "retrying" not in leases.keeper.text()


@needs_dnsmasq
def test_spanning_tree(attached: Attached, leases: Leases) -> None:
    """On a bridge with spanning tree the question waits until the port forwards, twice the forward delay."""
    attached.host.run("ip", "link", "set", "br-test", "type", "bridge", "stp_state", "1", "forward_delay", "200")
    attached.container("c1")
    began = time.monotonic()
    attached.add(DHCP)
    assert time.monotonic() - began > 4
    assert leases.server.text().count("DHCPDISCOVER(br-test)") == 1
    assert "retrying" not in leases.keeper.text()


@needs_dnsmasq
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_lease_is_given_back(attached: Attached, leases: Leases, backend: str) -> None:
    """DEL gives the lease back, which takes the link, and only then removes the link; nothing of either stays."""
    attached.container("c1")
    before = attached.left()
    address = attached.add(DHCP, backend=backend)["ips"][0]["address"].partition("/")[0]
    attached.run("DEL", DHCP, backend=backend)
    wait_until(lambda: f"DHCPRELEASE(br-test) {address}" in leases.server.text(), 10, "the release", leases.server.text)
    wait_until(lambda: attached.left() == before, 10, "the end of all", attached.left)


@needs_dnsmasq
@pytest.mark.parametrize(("plugin", "backend"), [("bridge", "builtin"), ("bridge", "exec"), ("macvlan", "exec")])
def test_a_lease_that_nobody_keeps(attached: Attached, leases: Leases, plugin: str, backend: str) -> None:
    """Without the plugin's daemon DEL takes back all but the lease, which runs out: no link keeps the address."""
    attached.container("c1")
    before = attached.left()
    network = DHCP
    if plugin == "macvlan":
        for words in ("link add port0 up type veth peer name port1", "link set port1 up master br-test"):
            attached.host.run("ip", *words.split())
        before = attached.left()
        network = {**DHCP, "plugins": [{"type": "macvlan", "master": "port0", "ipam": {"type": "dhcp"}}]}
    attached.add(network, backend=backend)
    dhcp.end(leases.keeper)
    attached.host.path(dhcp.SOCKET).unlink()
    attached.run("DEL", network, backend=backend)
    wait_until(lambda: attached.left() == before, 10, "the end of all", attached.left)
    assert "eth0" not in attached.host.run("ip", "-n", "c1", "link").stdout


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("configured", "expected"), [(0, 1450), (1400, 1400)])
def test_mtu_of_a_bridge_that_is_there(attached: Attached, backend: str, configured: int, expected: int) -> None:
    """Without `mtu` both ends of a container's link take that of the bridge; the configuration's comes first."""
    attached.host.run("ip", "link", "add", "cni0", "type", "bridge")
    attached.host.run("ip", "link", "set", "cni0", "mtu", "1450")
    attached.container("c1")
    network = chain(ipMasq=False, mtu=configured)
    port = attached.add(network, backend=backend)["interfaces"][1]["name"]
    assert mtu(attached, "eth0", "-n", "c1") == expected
    assert mtu(attached, port) == expected
    assert mtu(attached, "cni0") == 1450
    attached.run("CHECK", network, backend=backend)


def test_mtu_follows_the_bridge(attached: Attached) -> None:
    """The next container gets the MTU that the bridge has by then, whoever changed it."""
    attached.container("c1")
    attached.container("c2")
    attached.add(chain())
    assert mtu(attached, "eth0", "-n", "c1") == 1500
    attached.host.run("ip", "link", "set", "cni0", "mtu", "1450")
    attached.add(chain(), "c2")
    assert mtu(attached, "eth0", "-n", "c2") == 1450


def test_what_a_route_may_have(attached: Attached) -> None:
    """MTU, segment size, metric and table of a route are the kernel's afterwards, in both families."""
    attached.container("c1")
    ranges = [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]]
    routes = [
        {"dst": "10.9.0.0/16", "mtu": 1300, "advmss": 1200, "priority": 7},
        {"dst": "10.8.0.0/16", "table": 99, "scope": 0},
        {"dst": "10.1.7.0/24", "gw": "", "mtu": 1280, "table": 300},
        {"dst": "fd00:9::/64", "mtu": 1300, "advmss": 1200, "priority": 7},
        {"dst": "fd00:8::/64", "advmss": 1111, "table": 99},
    ]
    network = chain(version="1.1.0", ipMasq=False, ipam={"type": "host-local", "ranges": ranges, "routes": routes})
    attached.add(network, backend="builtin")
    shown = {
        words[0]: " ".join(words[1:])
        for family in ("-4", "-6")
        for line in attached.host.run("ip", family, "-n", "c1", "route", "show", "table", "all").stdout.splitlines()
        if (words := line.split())
    }
    assert shown["10.9.0.0/16"] == "via 10.1.0.1 dev eth0 metric 7 mtu 1300 advmss 1200"
    assert shown["10.8.0.0/16"] == "via 10.1.0.1 dev eth0 table 99"
    assert shown["10.1.7.0/24"] == "via 10.1.0.1 dev eth0 table 300 mtu 1280"
    assert "metric 7 mtu 1300 advmss 1200" in shown["fd00:9::/64"]
    assert "table 99" in shown["fd00:8::/64"]
    assert "advmss 1111" in shown["fd00:8::/64"]
