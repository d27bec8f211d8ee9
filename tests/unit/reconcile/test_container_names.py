"""What the resolver has to know of a container."""

from __future__ import annotations

from dockercni.cni import CacheEntry
from dockercni.model import Container, DNSOptions
from dockercni.reconcile import container_names
from dockercni.resolver.messages import OnNetwork

ID = "0123456789ab" + "0" * 52


def entry(network: str, *addresses: str, servers: tuple[str, ...] = ()) -> CacheEntry:
    result = {
        "cniVersion": "1.0.0",
        "ips": [{"address": address} for address in addresses],
        "dns": {"nameservers": list(servers)},
    }
    config = {"cniVersion": "1.0.0", "name": network, "plugins": [{"type": "bridge"}]}
    return CacheEntry(network=network, container_id=ID, ifname="eth0", netns="", config=config, result=result, owner={})


def test_names() -> None:
    """A container has its name, short id and host name on all networks, and aliases where they were asked for."""
    labels = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
    container = Container(ID, "shop-web-1", running=True, labels=labels, hostname="www", domainname="example.com")
    entries = [entry("front", "10.1.0.2/24", "fd00::2/64"), entry("back", "10.2.0.2/24")]
    names = container_names.of(container, entries, {"": ["all"], "back": ["only"]})
    assert names.names == ["shop-web-1", "0123456789ab", "www.example.com", "www"]
    assert names.networks == [
        OnNetwork("front", ["10.1.0.2", "fd00::2"], ["all"]),
        OnNetwork("back", ["10.2.0.2"], ["all", "only"]),
    ]
    assert (names.project, names.service, names.servers) == ("shop", "web", [])


def test_host_name_is_the_short_id() -> None:
    """Without a host name of its own a container has its short id, once."""
    container = Container(ID, "web", running=True, hostname="0123456789ab")
    assert container_names.of(container, [], {}).names == ["web", "0123456789ab"]
    assert container_names.host_names(Container(ID, "web", running=True)) == ("0123456789ab",)


def test_servers() -> None:
    """The user's servers come before those of the networks, each of which counts once."""
    entries = [entry("a", servers=("10.1.0.1", "10.1.0.2")), entry("b", servers=("10.1.0.1",))]
    container = Container(ID, "web", running=True)
    assert container_names.of(container, entries, {}).servers == ["10.1.0.1", "10.1.0.2"]
    asked = Container(ID, "web", running=True, dns=DNSOptions(("1.1.1.1",)))
    assert container_names.of(asked, entries, {}).servers == ["1.1.1.1"]
