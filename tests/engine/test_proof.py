"""Nothing goes that is not provably ours: beside another runtime that uses the same network by our executables."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.engine.containers import addresses, network, run, wait_attached
from tests.engine.neighbour import Neighbour
from tests.hosts import leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.daemons import Cli
    from tests.hosts import Host

PORTS = [{"hostPort": 8099, "containerPort": 80, "protocol": "tcp"}]
BRIDGE = {
    "type": "bridge",
    "bridge": "cni-lan",
    "isGateway": True,
    "ipMasq": True,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.1.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]},
}
NETWORK: dict[str, Any] = {
    "cniVersion": "1.1.0",
    "name": "lan",
    "dockercni": {"engine": "native"},  # the installed executables do not know this version
    "plugins": [BRIDGE, {"type": "portmap", "capabilities": {"portMappings": True}}, {"type": "firewall"}],
}
STORE = "/var/lib/cni/networks/lan"


@pytest.fixture
def neighbour(host: Host) -> Iterator[Neighbour]:
    """Another runtime's attachment to network lan, of which nothing is recorded in our cache."""
    host.write("/etc/cni/net.d/10-lan.conflist", json.dumps(NETWORK))
    other = Neighbour(host, NETWORK, "theirs")
    other.add(PORTS)
    yield other
    if host.path("/run/netns/theirs").exists():
        other.delete(PORTS)
    host.run("nft", "delete", "table", "inet", "dockercni", check=False)
    host.run("ip", "link", "delete", "cni-lan", check=False)
    host.run("rm", "-rf", STORE)


def theirs(host: Host) -> tuple[str, list[str]]:
    """What the other runtime has of lease, ports and masquerade."""
    leases = host.run("grep", "-rl", "theirs", STORE, check=False).stdout
    table = host.run("nft", "list", "table", "inet", "dockercni").stdout
    return leases, sorted(map(str.strip, re.findall(r'[0-9.]+ comment "theirs eth0 lan"[^,}]*', table)))


def test_gc_beside_another_runtime(host: Host, neighbour: Neighbour, cli: Cli) -> None:
    """A network with anything unproven on it does not get the GC verb, which is said; it is sent when nothing of others
    is left; --dry-run says all of it."""
    run(host, "web")
    cli("sync", check=True)
    before = theirs(host)
    assert before[0]
    assert len(before[1]) > 1
    dry = cli("gc", "--dry-run", check=True).stdout
    done = cli("gc", check=True).stdout
    for text in (dry, done):
        assert (
            "NOTE lease 10.77.1.2 of network lan for theirs eth0 (not known to be created by dockercni: left alone)"
            in text
        )
        assert "NOTE port 8099/tcp of the host leads to 10.77.1.2:80 of container theirs" in text
        assert "NOTE no GC network lan (bridge, portmap, firewall): lease 10.77.1.2 of network lan for theirs" in text
    assert theirs(host) == before
    neighbour.delete(PORTS)
    # what the plugins would find cannot be told without asking them: an announced verb is no drift
    planned = cli("gc", "--dry-run")
    assert (planned.returncode, "would GC network lan (bridge, portmap, firewall)\n" in planned.stdout) == (0, True)
    assert "\nGC network lan (bridge, portmap, firewall)\n" in cli("gc", check=True).stdout
    assert cli("check").returncode == 0
    assert wait_attached(host, "web") == "10.77.1.3"


def test_gc_with_a_record_of_somebody_else(host: Host, neighbour: Neighbour, cli: Cli) -> None:
    """Records without our owner, and such as cannot be read, withhold the verb as well."""
    neighbour.delete(PORTS)
    host.write("/var/lib/cni/results/lan-x-eth0", "?")
    assert "NOTE no GC network lan (bridge, portmap, firewall): a record cannot be read" in cli("gc").stdout
    entry = {"kind": "cniCacheV1", "containerId": "x", "config": "", "ifName": "eth0", "networkName": "lan"}
    host.write("/var/lib/cni/results/lan-x-eth0", json.dumps(entry))
    assert "NOTE no GC network lan (bridge, portmap, firewall): another runtime has att" in cli("gc").stdout
    host.run("rm", "/var/lib/cni/results/lan-x-eth0")


def test_uninstall_beside_another_runtime(host: Host, neighbour: Neighbour, cli: Cli) -> None:
    """Only what is ours goes; what is left is named with who has it, and --dry-run says the same before."""
    run(host, "web", "--publish=8098:80")
    cli("sync", check=True)
    before = theirs(host)
    dry = cli("uninstall", "--dry-run").stdout.splitlines()
    assert "would give back the networks of web" in dry
    assert addresses(host, "web") == ["10.77.1.3/24"]
    done = cli("uninstall", check=True).stdout.splitlines()
    assert [line.removeprefix("would ") for line in dry] == done
    left = [line for line in done if line.startswith("leave ")]
    assert "leave table inet dockercni of nftables: theirs eth0 lan" in left
    assert f"leave {STORE}, the lease store of network lan: 10.77.1.2 of theirs eth0" in left
    assert "leave chain CNI-FORWARD of iptables-nft: rules for cni-lan" in left
    assert theirs(host) == before
    assert addresses(host, "web") == []
    assert "web" not in host.run("nft", "list", "table", "inet", "dockercni").stdout
    neighbour.delete(PORTS)
    again = cli("uninstall", check=True).stdout.splitlines()
    assert "remove table inet dockercni of nftables" in again
    assert not [line for line in again if line.startswith("leave ")]
    # the rules of its firewall plugin stay with its bridge
    assert [line for line in leftovers(host) if "dockercni:cni-lan" not in line] == []


def test_uninstall_beside_the_reference_plugins(host: Host, cli: Cli) -> None:
    """What another runtime lets through FORWARD by the reference firewall plugin is named, too, and stays."""
    network(host, "lan", "10.77.1.0/24")
    run(host, "web", "--publish=8098:80")
    cli("sync", "--backend=exec", check=True)
    rules = ("-s 10.88.0.2/32 -j ACCEPT", "-d 10.88.0.2/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
    for rule in rules:
        host.run("iptables", "-A", "CNI-FORWARD", *rule.split())
    host.run("iptables", "-N", "CNI-ISOLATION-STAGE-1")
    host.run("iptables", "-A", "CNI-ISOLATION-STAGE-1", "-i", "nerdctl0", "!", "-o", "nerdctl0", "-j", "RETURN")
    dry = cli("uninstall", "--dry-run").stdout.splitlines()
    done = cli("uninstall", check=True).stdout.splitlines()
    assert [line.removeprefix("would ") for line in dry] == done
    assert [line for line in done if line.startswith("leave ")] == [
        "leave chain CNI-FORWARD of iptables-nft: rules for 10.88.0.2",
        "leave chain CNI-ISOLATION-STAGE-1 of iptables-nft: rules for nerdctl0",
    ]
    assert host.run("iptables", "-S", "CNI-FORWARD").stdout.count("10.88.0.2") == 2
    host.run("sh", "-c", "iptables -F CNI-ISOLATION-STAGE-1; iptables -X CNI-ISOLATION-STAGE-1")
