"""The runtime with the reference plugins: what they make, and that they take it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dockercni.cni import CacheEntry, NetworkList, PluginError, Runtime, RuntimeConf
from tests.hosts import leftovers
from tests.netns.conftest import addresses, links, network

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hosts import Host

IPAM = {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}
BRIDGE = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "ipam": IPAM}
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}
PORTS = {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}


def entry_of(runtime: Runtime) -> CacheEntry:
    """The only record."""
    (entry,) = runtime._cache.entries()
    return entry


def gone(host: Host, runtime: Runtime) -> None:
    """DEL by the record leaves nothing but the namespaces themselves."""
    runtime.delete_recorded(entry_of(runtime))
    assert not list(runtime._cache.entries())
    assert [line for line in leftovers(host) if not line.startswith("pin ")] == []


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
def test_bridge_portmap_firewall(host: Host, netns: Callable[[str], str], runtime: Runtime, version: str) -> None:
    """bridge, host-local, portmap and firewall, in every version that they speak: ADD, a ping, DEL."""
    path = netns("one")
    firewall = [{"type": "firewall"}] if version != "0.3.1" else []  # it begins with 0.4.0
    net = network(BRIDGE, PORTMAP, *firewall, version=version)
    result = runtime.add(net, RuntimeConf("one", path, "eth0", capability_args=PORTS)).attached
    assert [str(ip.address) for ip in result.ips] == addresses(host, "one", "eth0") == ["10.88.0.2/24"]
    assert [(link.name, bool(link.sandbox)) for link in result.interfaces][::2] == [("cni0", False), ("eth0", True)]
    host.run("ip", "netns", "exec", "one", "busybox", "ping", "-c1", "-W2", "10.88.0.1")
    assert {line.split()[0] for line in leftovers(host)} >= {"lease", "link", "iptables"}
    gone(host, runtime)
    assert "eth0" not in links(host, "one")


def test_check_notices(host: Host, netns: Callable[[str], str], runtime: Runtime) -> None:
    """CHECK complains when an address is gone."""
    path = netns("one")
    runtime.add(network(BRIDGE), RuntimeConf("one", path, "eth0"))
    runtime.check(entry_of(runtime))
    host.run("ip", "-netns", "one", "address", "flush", "dev", "eth0")
    with pytest.raises(PluginError, match="check"):
        runtime.check(entry_of(runtime))


@pytest.mark.parametrize(
    ("plugins", "kind"),
    [
        ([{"type": "ptp", "ipMasq": True, "ipam": IPAM}], "veth"),
        ([{"type": "macvlan", "master": "up0", "ipam": IPAM}], "macvlan"),
        ([{"type": "ipvlan", "master": "up0", "ipam": IPAM}], "ipvlan"),
        ([BRIDGE, {"type": "tuning", "mac": "02:00:00:00:00:07", "mtu": 1400}], "veth"),
        ([BRIDGE, {"type": "bandwidth", "ingressRate": 1000000, "ingressBurst": 1000000}], "veth"),
        ([{**BRIDGE, "ipam": {"type": "static", "addresses": [{"address": "10.88.0.2/24"}]}}], "veth"),
    ],
    ids=["ptp", "macvlan", "ipvlan", "tuning", "bandwidth", "static"],
)
def test_other_plugins(
    host: Host, netns: Callable[[str], str], runtime: Runtime, plugins: list[dict[str, Any]], kind: str
) -> None:
    """The other reference plugins give an interface with an address, and take it back."""
    path = netns("one")
    if kind.endswith("vlan"):
        host.run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
        host.run("ip", "link", "set", "up0", "up")
    try:
        runtime.add(network(*plugins), RuntimeConf("one", path, "eth0"))
    except PluginError as error:
        if any(words in str(error) for words in ("not supported", "ifb", "unknown device type", "no such file")):
            pytest.skip(f"this kernel cannot: {error}")
        raise
    assert addresses(host, "one", "eth0") == ["10.88.0.2/24"]
    link = links(host, "one")["eth0"]
    assert link["linkinfo"]["info_kind"] == kind
    if plugins[-1]["type"] == "tuning":
        assert (link["address"], link["mtu"]) == ("02:00:00:00:00:07", 1400)
    runtime.delete_recorded(entry_of(runtime))
    assert "eth0" not in links(host, "one")
    host.run("ip", "link", "delete", "up0", check=False)
    assert [line for line in leftovers(host) if not line.startswith("pin ")] == []


def test_loopback(host: Host, netns: Callable[[str], str], runtime: Runtime) -> None:
    """loopback brings `lo` up."""
    path = netns("one")
    result = runtime.add(network({"type": "loopback"}), RuntimeConf("one", path, "lo")).attached
    assert {str(ip.address) for ip in result.ips} >= {"127.0.0.1/8"}
    assert "UP" in links(host, "one")["lo"]["flags"]
    gone(host, runtime)


def test_roll_back(host: Host, netns: Callable[[str], str], runtime: Runtime) -> None:
    """When the last plugin fails, what bridge and portmap did before is gone at once."""
    path = netns("one")
    net = network(BRIDGE, PORTMAP, {"type": "tuning", "sysctl": {"net.no.such": "1"}})
    with pytest.raises(PluginError, match='plugin "tuning" failed'):
        runtime.add(net, RuntimeConf("one", path, "eth0", capability_args=PORTS))
    assert leftovers(host) == ["pin one"]
    assert "eth0" not in links(host, "one")
    assert not list(runtime._cache.entries())


def test_two_namespaces(host: Host, netns: Callable[[str], str], runtime: Runtime) -> None:
    """Two attachments of one bridge reach each other; DEL of one leaves the other alone."""
    net = network(BRIDGE)
    for name in ("one", "two"):
        runtime.add(net, RuntimeConf(name, netns(name), "eth0"))
    host.run("ip", "netns", "exec", "one", "busybox", "ping", "-c1", "-W2", addresses(host, "two", "eth0")[0][:-3])
    runtime.delete(net, RuntimeConf("one", "/run/netns/one", "eth0"))
    host.run("ip", "netns", "exec", "two", "busybox", "ping", "-c1", "-W2", "10.88.0.1")
    assert entry_of(runtime).container_id == "two"


def test_del_twice_and_without_a_namespace(host: Host, netns: Callable[[str], str], runtime: Runtime) -> None:
    """DEL of what is gone is success, also when the namespace is: the lease is freed all the same."""
    net: NetworkList = network({**BRIDGE, "ipMasq": False})
    conf = RuntimeConf("one", netns("one"), "eth0")
    runtime.add(net, conf)
    host.run("ip", "netns", "del", "one")
    runtime.delete(net, RuntimeConf("one", "", "eth0"))
    runtime.delete(net, conf)
    host.wait_until(lambda: leftovers(host) == [], 5, "the end of the link", lambda: leftovers(host))


@pytest.mark.parametrize("how", ["capability", "CNI_ARGS"])
def test_static_address(host: Host, netns: Callable[[str], str], runtime: Runtime, how: str) -> None:
    """A requested address reaches host-local by capability as well as by CNI_ARGS."""
    net = network({**BRIDGE, "capabilities": {"ips": True}})
    given: dict[str, Any] = {"args": (("IgnoreUnknown", "1"), ("IP", "10.88.0.77"))}
    if how == "capability":
        given = {"capability_args": {"ips": ["10.88.0.77/24"]}}
    runtime.add(net, RuntimeConf("one", netns("one"), "eth0", **given))
    assert addresses(host, "one", "eth0") == ["10.88.0.77/24"]
