"""`ipam: dhcp` through the plugin's own daemon, with dnsmasq as the server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dockercni.cni import CacheEntry, ExecRunner, NetworkList, PluginError, PluginTimeout, Runtime, RuntimeConf
from tests.hosts import dhcp, wait_until
from tests.hosts.commands import Background
from tests.hosts.dhcp import LEASES, RENEWAL, SOCKET, end
from tests.netns import hosted as made
from tests.netns.hosted import Hosted, network

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("dnsmasq", path="/usr/sbin:/usr/bin:/sbin:/bin") is None, reason="needs dnsmasq"),
]

IPAM = {"type": "dhcp", "request": [{"option": "58"}]}
BRIDGE: dict[str, Any] = {"type": "bridge", "bridge": "br-test", "ipam": IPAM}
MACVLAN: dict[str, Any] = {"type": "macvlan", "master": "port", "ipam": IPAM}


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """A private host with a bridge, which is the server's network."""
    yield from made.hosted(tmp_path_factory)


@pytest.fixture(autouse=True)
def bridge(hosted: Hosted) -> Iterator[None]:
    """The bridge with the server's address, and a port of it for macvlan; afterwards nothing of a test is left."""
    for command in (
        "link add br-test type bridge",
        "addr add 10.57.0.1/24 dev br-test",
        "link set br-test up",
        "link add port type veth peer name port-peer",
        "link set port up",
        "link set port-peer up master br-test",
    ):
        hosted.host.run("ip", *command.split())
    yield
    hosted.reset()
    hosted.host.run("ip", "link", "del", "port")


@pytest.fixture
def server(hosted: Hosted) -> Iterator[Background]:
    """A DHCP server on the bridge, with two minutes' leases that are to be renewed after a few seconds."""
    started = dhcp.start_server(hosted.host, "br-test", "10.57.0.100", "10.57.0.110")
    yield started
    end(started)
    hosted.host.path(LEASES).unlink(missing_ok=True)


@pytest.fixture
def daemon(hosted: Hosted) -> Iterator[Callable[[], Background]]:
    """Start the plugin's daemon, and wait until it listens."""
    started: list[Background] = []

    def start() -> Background:
        one = dhcp.start_daemon(hosted.host, hosted.plugins / "dhcp")
        started.append(one)
        return one

    yield start
    for one in started:
        end(one)
    hosted.host.path(SOCKET).unlink(missing_ok=True)


def attached(hosted: Hosted, net: NetworkList, name: str = "c1") -> tuple[CacheEntry, str]:
    """ADD a new namespace; what was recorded, and the address."""
    result = hosted.add(net, RuntimeConf(name, hosted.namespace(name), "eth0", owner={}))
    entry = hosted.cache.read("net", name, "eth0")
    assert entry
    return entry, str(result.ips[0].address.ip)


def wait_for_release(server: Background, address: str) -> None:
    """Wait until the server has got the address back."""
    wait_until(lambda: f"DHCPRELEASE(br-test) {address}" in server.text(), 20, "the release", server.text)


@pytest.mark.parametrize(("plugin", "version"), [(BRIDGE, "1.0.0"), (MACVLAN, "0.3.1"), (MACVLAN, "1.0.0")])
def test_a_lease_is_taken_and_given_back(
    hosted: Hosted, server: Background, daemon: Callable[[], Background], version: str, plugin: dict[str, Any]
) -> None:
    """ADD takes a lease and gives its address and gateway to the container, CHECK agrees, DEL gives it up."""
    daemon()
    entry, address = attached(hosted, network(version, plugin))
    assert address.startswith("10.57.0.1")
    assert hosted.addresses("c1", "eth0") == {f"{address}/24"}
    assert address in hosted.host.read(LEASES)
    assert "default via 10.57.0.1" in hosted.inside("c1", "ip", "route")
    if version >= "0.4.0":
        hosted.runtime.check(entry)
    hosted.runtime.delete_recorded(entry)
    if plugin is MACVLAN:  # bridge removes the link first, so nothing can be sent, and the lease runs out by itself
        wait_for_release(server, address)
        assert address not in hosted.host.read(LEASES)
    assert hosted.links("c1") == {"lo"}
    assert list(hosted.cache.entries()) == []


def test_a_lease_is_renewed(hosted: Hosted, server: Background, daemon: Callable[[], Background]) -> None:
    """The plugin's daemon renews the lease when T1 is over, again and again, and the address stays."""
    keeper = daemon()
    entry, address = attached(hosted, network("1.0.0", BRIDGE))
    acknowledged = f"DHCPACK(br-test) {address}"
    wait_until(lambda: server.text().count(acknowledged) >= 3, 10 * RENEWAL, "two renewals", server.text)
    wait_until(lambda: keeper.text().count("lease renewed") >= 2, 10 * RENEWAL, "two renewals", keeper.text)
    assert hosted.addresses("c1", "eth0") == {f"{address}/24"}
    hosted.runtime.check(entry)
    hosted.runtime.delete_recorded(entry)


def test_each_container_has_its_own_lease(hosted: Hosted, server: Background, daemon: Callable[[], Background]) -> None:
    """Two containers get two addresses, and DEL of one leaves the other's lease alone."""
    daemon()
    first, one = attached(hosted, network("1.0.0", MACVLAN), "c1")
    second, two = attached(hosted, network("1.0.0", MACVLAN), "c2")
    assert one != two
    hosted.runtime.delete_recorded(first)
    wait_for_release(server, one)
    hosted.runtime.check(second)
    assert two in hosted.host.read(LEASES)
    hosted.runtime.delete_recorded(second)
    wait_for_release(server, two)


def test_without_the_daemon_add_says_so(hosted: Hosted) -> None:
    """If the plugin's daemon does not run ADD fails with a word about it, and no link and no record is left."""
    before = hosted.links()
    with pytest.raises(PluginError, match="dhcp") as error:
        hosted.runtime.add(network("1.0.0", BRIDGE), RuntimeConf("c1", hosted.namespace("c1"), "eth0", owner={}))
    assert SOCKET in error.value.msg
    assert hosted.links("c1") == {"lo"}
    assert hosted.links() == before


def test_a_daemon_that_was_restarted(hosted: Hosted, server: Background, daemon: Callable[[], Background]) -> None:
    """A restarted daemon knows no lease: CHECK takes it up again with the same address, and DEL succeeds anyway."""
    first = daemon()
    entry, address = attached(hosted, network("1.0.0", MACVLAN))
    end(first)
    second = daemon()
    hosted.runtime.check(entry)
    assert second.text().count("lease acquired") == 1
    assert server.text().count(f"DHCPACK(br-test) {address}") == 2
    end(second)
    daemon()
    hosted.runtime.delete_recorded(entry)
    assert hosted.links("c1") == {"lo"}
    assert list(hosted.cache.entries()) == []


def test_a_server_that_is_silent(hosted: Hosted, daemon: Callable[[], Background]) -> None:
    """Where no server answers, ADD ends when the time is up, and the link is taken back."""
    daemon()
    before = hosted.links()
    impatient = Runtime(ExecRunner(hosted.runner.directories, 2), hosted.cache)
    with pytest.raises(PluginTimeout):
        impatient.add(network("1.0.0", BRIDGE), RuntimeConf("c1", hosted.namespace("c1"), "eth0", owner={}))
    assert hosted.links("c1") == {"lo"}
    assert hosted.links() == before
