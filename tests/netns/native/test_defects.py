"""What the reference plugins do wrong, done right."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.netns.native.conftest import DUAL, FIREWALL, PORTMAP, chain

if TYPE_CHECKING:
    from tests.netns.native.conftest import Attached

PORTS = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
EMPTY = {"links": "", "leases": "", "rules": "", "cache": ""}


def test_default_route_without_gateway(attached: Attached) -> None:
    """isDefaultGateway goes together with a default route that names no gateway."""
    attached.container("c1")
    attached.add(chain(isDefaultGateway=True))
    assert "default via 10.1.0.1" in attached.host.run("ip", "-n", "c1", "route").stdout


def test_bridge_without_mac(attached: Attached) -> None:
    """A bridge that lost its MAC with its last port serves the next gateway network, and keeps the MAC from then on."""
    attached.container("c1")
    layer_2 = {"cniVersion": "1.0.0", "name": "flat", "plugins": [{"type": "bridge", "bridge": "cni0"}]}
    attached.host.run("ip", "link", "add", "cni0", "type", "bridge")
    attached.add(layer_2)
    attached.run("DEL", layer_2)
    first = attached.add(chain())["interfaces"][0]["mac"]
    attached.container("c2")
    assert first != "00:00:00:00:00:00"
    assert attached.add(chain(), "c2")["interfaces"][0]["mac"] == first
    attached.run("DEL", chain())
    attached.run("DEL", chain(), "c2")
    assert json.loads(attached.host.run("ip", "-j", "link", "show", "cni0").stdout)[0]["address"] == first


def test_port_without_ipv6(attached: Attached) -> None:
    """The bridge's port has neither IPv6 address nor route, which made each change of a link slower."""
    attached.container("c1")
    port = attached.add(chain())["interfaces"][1]["name"]
    assert attached.host.run("ip", "-6", "address", "show", "dev", port).stdout == ""
    routes = attached.host.run("ip", "-6", "route", "show", "table", "all").stdout
    assert not [line for line in routes.splitlines() if port in line]


def test_two_interfaces_of_one_network(attached: Attached) -> None:
    """DEL of one of two interfaces on one network takes its masquerading and ports, and leaves the other's."""
    network = chain(PORTMAP)
    attached.container("c1")
    attached.add(network, ports=PORTS)
    attached.add(network, ifname="eth1", ports=[{**PORTS[0], "hostPort": 8081}])
    attached.run("DEL", network, ports=PORTS)
    elements = attached.elements()
    assert "c1 eth0" not in elements
    assert elements.count("c1 eth1 net") == 3
    attached.run("CHECK", network, ifname="eth1", ports=[{**PORTS[0], "hostPort": 8081}])


def test_masquerade_goes_without_namespace(attached: Attached) -> None:
    """DEL takes masquerading back when the namespace is gone, with and without prevResult."""
    network = chain(PORTMAP)
    for forget in (False, True):
        attached.container("c1")
        attached.add(network, ports=PORTS)
        attached.host.run("ip", "netns", "delete", "c1")
        if forget:
            attached.host.run("sh", "-c", "rm /var/lib/cni/results/*")
        attached.run("DEL", network, netns="", ports=PORTS)
        attached.host.wait_until(lambda: attached.left() == EMPTY, 5, "the end", attached.left)


def test_check_of_layer_2(attached: Attached) -> None:
    """CHECK of a network without IPAM succeeds, and fails when its port is gone."""
    layer_2 = {"cniVersion": "1.0.0", "name": "flat", "plugins": [{"type": "bridge", "bridge": "cni0"}]}
    attached.container("c1")
    attached.add(layer_2)
    attached.run("CHECK", layer_2)
    attached.host.run("ip", "-n", "c1", "link", "delete", "eth0")
    assert attached.run("CHECK", layer_2, check=False).returncode == 1


def test_gc(attached: Attached) -> None:
    """GC takes what belongs to no valid attachment of its network and nobody uses, also where nothing is recorded of
    it. What another namespace uses stays: the list of attachments is that of one runtime, and there may be others."""
    network, other = chain(PORTMAP, version="1.1.0"), chain(PORTMAP, name="other", version="1.1.0")
    for index, name in enumerate(("c1", "c2", "c3", "c4")):
        attached.container(name)
        attached.add(other if name == "c3" else network, name, ports=[{**PORTS[0], "hostPort": 8080 + index}])
    attached.host.run("sh", "-c", "rm /var/lib/cni/results/net-c[24]-eth0")
    attached.host.run("sh", "-c", "touch -d '1 hour ago' /var/lib/cni/networks/*/10.*")
    attached.host.run("ip", "netns", "delete", "c2")
    attached.run("GC", network, "c1")
    elements = attached.elements()
    assert [name for name in ("c1", "c2", "c3", "c4") if f'"{name} ' in elements] == ["c1", "c3", "c4"]
    leases = attached.host.run("sh", "-c", "cat /var/lib/cni/networks/net/10.*").stdout
    assert [name for name in ("c1", "c2", "c4") if f"{name}\neth0" in leases] == ["c1", "c4"]


def test_port_of_somebody_else(attached: Attached) -> None:
    """A port that another container publishes is refused, and stays with that one."""
    network = chain(PORTMAP)
    for name in ("c1", "c2"):
        attached.container(name)
    attached.add(network, ports=PORTS)
    refused = attached.run("ADD", network, "c2", ports=PORTS, check=False)
    assert refused.returncode == 1
    assert (
        "port 8080/tcp of the host leads to 10.1.0.2:80 of container c1 (eth0 on network net) already" in refused.stderr
    )
    attached.run("DEL", network, "c2", ports=PORTS)
    assert "c1 eth0 net" in attached.elements()


def test_stale_address(attached: Attached) -> None:
    """An address whose former owner left an element behind is masqueraded for the new one, and taken back by it."""
    network = chain()
    attached.container("c1")
    attached.add(network)
    attached.host.run("sh", "-c", "rm -r /var/lib/cni/results /var/lib/cni/networks")
    attached.host.run("ip", "-n", "c1", "link", "delete", "eth0")
    attached.container("c2")
    attached.add(network, "c2")
    assert "c2 eth0 net" in attached.elements()
    attached.run("DEL", network, "c2")
    assert attached.left() == EMPTY


@pytest.mark.parametrize("harm", ["flush table inet dockercni", "flush ruleset"])
def test_repair(attached: Attached, harm: str) -> None:
    """A flushed table is brought back to what it was."""
    network = chain(PORTMAP, FIREWALL | {"ingressPolicy": "isolated"}, ipam=DUAL)
    for index, name in enumerate(("c1", "c2")):
        attached.container(name)
        attached.add(network, name, ports=[{**PORTS[0], "hostPort": 8080 + index}])
    before = table(attached)
    attached.host.run("nft", *harm.split())
    attached.run("REPAIR", network)
    assert table(attached) == before


def table(attached: Attached) -> list[str]:
    """Our table as nft lists it; elements come in no order."""
    return sorted(attached.host.run("nft", "list", "table", "inet", "dockercni").stdout.split())


def test_listing_can_be_read_back(attached: Attached) -> None:
    """What nft lists of our table is what nft reads, so that saved rulesets can be restored."""
    attached.container("c1")
    attached.add(chain(PORTMAP, FIREWALL | {"ingressPolicy": "isolated"}, ipam=DUAL), ports=PORTS)
    before = table(attached)
    attached.host.run("sh", "-ec", "nft list ruleset > /run/saved; nft flush ruleset; nft -f /run/saved")
    assert table(attached) == before
