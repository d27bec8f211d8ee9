"""Which networks a container gets, and with what: several, static addresses, MACs, arguments, the default."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import (
    BIN_DIRS,
    NOOP_RECORD,
    address,
    addresses,
    conflist,
    network,
    noop,
    run,
    settings,
    wait_clean,
)
from tests.hosts import leftovers, peer_of, serve_tcp, wait_until

if TYPE_CHECKING:
    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host


def mac(host: Host, name: str, ifname: str = "eth0") -> str:
    """The MAC of an interface inside a running container."""
    (link,) = json.loads(host.container(name).run("ip", "-json", "link", "show", "dev", ifname).stdout)
    return str(link["address"])


def test_two_networks(host: Host, daemon: Start) -> None:
    """`dockercni.networks=a,b@lan0` gives two interfaces, each reachable in its network, and takes both back."""
    network(host, "a", "10.77.1.0/24")
    network(host, "b", "10.77.2.0/24")
    running = daemon()
    run(host, "web", "--label=dockercni.networks=a,b@lan0", command=serve_tcp(80))
    run(host, "peer", "--label=dockercni.networks=b")
    running.wait_event("ADD", container="web", network="a", ifname="eth0")
    running.wait_event("ADD", container="web", network="b", ifname="lan0")
    running.wait_event("ADD", container="peer", network="b", ifname="eth0")
    assert address(host, "web", "eth0").startswith("10.77.1.")
    assert address(host, "web", "lan0").startswith("10.77.2.")
    reply = host.container("peer").tcp_request(address(host, "web", "lan0"), 80)
    assert peer_of(reply) == address(host, "peer")
    host.docker("rm", "--force", "web", "peer")
    wait_clean(host)


@pytest.mark.parametrize("capabilities", [{}, {"ips": True, "mac": True}], ids=["CNI_ARGS", "capabilities"])
def test_static_address_and_mac(host: Host, daemon: Start, capabilities: dict[str, bool]) -> None:
    """`dockercni.ip` and `dockercni.mac` are honoured, whether the network takes them as capabilities or not."""
    network(host, "lan", "10.77.1.0/24", capabilities=capabilities)
    running = daemon()
    run(host, "web", "--label=dockercni.ip=10.77.1.99", "--label=dockercni.mac=02:11:22:33:44:55")
    running.wait_event("ADD", container="web")
    assert addresses(host, "web") == ["10.77.1.99/24"]
    assert mac(host, "web") == "02:11:22:33:44:55"


def test_address_per_network(host: Host, daemon: Start) -> None:
    """`dockercni.ip.NET` is meant for that network only."""
    network(host, "a", "10.77.1.0/24")
    network(host, "b", "10.77.2.0/24")
    running = daemon()
    run(host, "web", "--label=dockercni.networks=a,b", "--label=dockercni.ip.b=10.77.2.99")
    running.wait_event("ADD", container="web", network="b")
    assert addresses(host, "web", "eth0") == ["10.77.1.2/24"]
    assert addresses(host, "web", "eth1") == ["10.77.2.99/24"]


def test_address_that_is_ignored(host: Host, daemon: Start) -> None:
    """A requested address that the network does not give fails the ADD, and what it did is taken back."""
    ipam = {"type": "static", "addresses": [{"address": "10.77.1.5/24"}]}
    conflist(host, "lan", [{"type": "bridge", "bridge": "cni-lan", "ipam": ipam, "capabilities": {"ips": False}}])
    running = daemon()
    run(host, "web", "--label=dockercni.ip=10.77.1.99", "--label=dockercni.args=IP=10.77.1.7/24")
    failed = running.wait_event("ADD failed", container="web")
    assert "10.77.1.99" in failed["reason"]
    assert not addresses(host, "web")
    # it is tried again and again
    wait_until(lambda: {line.split()[0] for line in leftovers(host)} <= {"pin"}, 20, "nothing but a pin")


def test_taken_address(host: Host, daemon: Start) -> None:
    """An address that another container has is refused with the plugin's words, and given when it is free again."""
    network(host, "lan", "10.77.1.0/24")
    running = daemon()
    run(host, "first", "--label=dockercni.ip=10.77.1.99")
    running.wait_event("ADD", container="first")
    run(host, "second", "--label=dockercni.ip=10.77.1.99")
    assert "10.77.1.99" in running.wait_event("ADD failed", container="second")["reason"]
    host.docker("rm", "--force", "first")
    running.wait_event("ADD", container="second")
    assert addresses(host, "second") == ["10.77.1.99/24"]


@pytest.mark.parametrize("backend", ["builtin", "exec"])
def test_address_outside(host: Host, daemon: Start, backend: str) -> None:
    """An address that the network does not give is refused with the ranges that it has; one that is only remembered
    is not insisted on."""
    network(host, "lan", "10.77.1.0/29")
    running = daemon(f"--backend={backend}")
    run(host, "web", "--label=dockercni.ip=10.77.2.9")
    reason = running.wait_event("ADD failed", container="web")["reason"]
    assert reason == "address 10.77.2.9 is outside of what network lan gives: 10.77.1.1-10.77.1.6"
    run(host, "other")
    running.wait_event("ADD", container="other")
    network(host, "lan", "10.77.3.0/29", bridge="cni-lan2")
    host.docker("restart", "--time=0", "other")
    wait_until(lambda: addresses(host, "other") == ["10.77.3.2/29"], 20, "an address of the new range")


def test_arguments_by_label(host: Host, daemon: Start) -> None:
    """`dockercni.args` reaches the plugins as CNI_ARGS."""
    settings(host, cni_bin_dir=BIN_DIRS)
    conflist(host, "lan", [noop()])
    running = daemon()
    run(host, "web", "--label=dockercni.args=COLOUR=red;SIZE=9")
    running.wait_event("ADD", container="web")
    call = json.loads(host.read(NOOP_RECORD).splitlines()[0])
    assert call["env"]["CNI_ARGS"] == "COLOUR=red;SIZE=9;IgnoreUnknown=1"


def test_default_is_the_first_file(host: Host, daemon: Start) -> None:
    """The default network is that of the first file by plain name, whatever its kind of file; a new first one counts
    from the next start on."""
    network(host, "b", "10.77.2.0/24", file="20-b.conflist")
    network(host, "c", "10.77.3.0/24", file="30-c.conflist")
    running = daemon()
    run(host, "web")
    running.wait_event("ADD", container="web", network="b")
    ipam = {"type": "host-local", "subnet": "10.77.1.0/24"}
    host.write(
        "/etc/cni/net.d/05-a.conf",
        json.dumps({"cniVersion": "0.4.0", "name": "a", "type": "bridge", "bridge": "cni-a", "ipam": ipam}),
    )
    run(host, "next")
    running.wait_event("ADD", container="next", network="a")
    host.docker("restart", "web")
    running.wait_event("ADD", container="web", network="a")


def test_default_by_setting(host: Host, daemon: Start) -> None:
    """The setting `default-network` names the default network."""
    network(host, "a", "10.77.1.0/24")
    network(host, "b", "10.77.2.0/24")
    running = daemon("--default-network=b")
    run(host, "web")
    running.wait_event("ADD", container="web", network="b")


def test_broken_default(host: Host, daemon: Start, cli: Cli) -> None:
    """While the first file is broken the containers that need the default wait, with an error that names the file;
    there is no falling through to the next one. Those that name another network are served."""
    network(host, "b", "10.77.2.0/24", file="20-b.conflist")
    host.write("/etc/cni/net.d/10-a.conflist", '{"cniVersion": "1.0.0", "name": "a", "plugins": [}')
    running = daemon()
    run(host, "web")
    run(host, "other", "--label=dockercni.networks=b")
    running.wait_event("ADD", container="other", network="b")
    assert "10-a.conflist:1:" in running.wait_event("not attached", container="web")["reason"]
    done = cli("sync")
    assert done.returncode == 4
    assert "10-a.conflist:1:" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("not converged: 1 container, 1 attachment, 1 with problems: web")
    assert not addresses(host, "web")
    network(host, "a", "10.77.1.0/24", file="10-a.conflist")
    running.wait_event("ADD", container="web", network="a")


def test_unknown_network(host: Host, daemon: Start, cli: Cli) -> None:
    """A network that is not configured is an error that names it and those that are; it is retried until it is."""
    network(host, "a", "10.77.1.0/24")
    running = daemon()
    run(host, "web", "--label=dockercni.networks=b")
    reason = running.wait_event("not attached", container="web")["reason"]
    assert '"b"' in reason
    assert "known: a" in reason
    assert cli("sync").returncode == 4
    network(host, "b", "10.77.2.0/24")
    running.wait_event("ADD", container="web", network="b")
    wait_until(lambda: cli("sync").returncode == 0, 10, "convergence")


def test_one_network_twice(host: Host, daemon: Start) -> None:
    """A container may be on one network with two interfaces; both are taken back, though the reference bridge keeps
    one chain for both, and refuses to delete it with the first."""
    network(host, "lan", "10.77.1.0/24")
    running = daemon()
    run(host, "web", "--label=dockercni.networks=lan,lan")
    running.wait_event("ADD", container="web", ifname="eth0")
    running.wait_event("ADD", container="web", ifname="eth1")
    assert address(host, "web", "eth0") != address(host, "web", "eth1")
    host.docker("rm", "--force", "web")
    wait_clean(host)


def test_interface_of_somebody_else(host: Host, daemon: Start, cli: Cli) -> None:
    """An interface of that name which dockercni did not make is left as it is, and reported."""
    run(host, "web")
    host.container("web").run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other")
    host.container("web").run("ip", "address", "add", "192.0.2.9/24", "dev", "eth0")
    running = daemon("--attach-running")
    running.wait_event("drift", container="web")
    done = cli("sync")
    assert "eth0" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("not converged")
    assert addresses(host, "web") == ["192.0.2.9/24"]
