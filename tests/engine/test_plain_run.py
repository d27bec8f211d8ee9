"""The main job: `docker run --network none` gets its network, `docker rm -f` gives it back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.engine.containers import addresses, network, run, wait_clean
from tests.hosts import leftovers, wait_until

if TYPE_CHECKING:
    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host


def test_address_inside_and_nothing_left(host: Host, daemon: Start, cli: Cli) -> None:
    """A container gets an address, and lease, link, rules, pin and cache entry are gone after `rm -f`."""
    running = daemon()
    run(host, "open", "--publish=8080:80")
    added = running.wait_event("ADD", container="open")
    assert addresses(host, "open") == added["addresses"]
    assert host.docker("exec", "open", "ip", "-4", "-o", "addr", "show", "eth0").split()[3] == added["addresses"][0]
    kinds = {line.split()[0] for line in leftovers(host)}
    assert kinds >= {"lease", "cache", "pin", "link", "iptables"}  # so that their absence means something
    host.docker("rm", "--force", "open")
    wait_clean(host)
    running.wait_event("DEL", container="open", ifname="eth0")
    assert json.loads(cli("ps", "-o", "json", check=True).stdout)["attachments"] == []


def test_address_from_the_configured_network(host: Host, daemon: Start) -> None:
    """The first network of /etc/cni/net.d serves a container that names none."""
    network(host, "lan", "10.77.1.0/24")
    running = daemon()
    run(host, "web")
    added = running.wait_event("ADD", container="web", network="lan", ifname="eth0")
    assert addresses(host, "web") == added["addresses"] == ["10.77.1.2/24"]


def test_built_in_network_is_announced(host: Host, daemon: Start) -> None:
    """Without any configuration the built-in network serves, the log says so, and nothing is written under /etc."""
    running = daemon()
    said = running.wait_event("the built-in network serves", network="dockercni")
    assert said["subnet"] == "10.22.0.0/16"
    run(host, "web")
    assert running.wait_event("ADD", container="web")["addresses"][0].endswith("/16")
    assert not list(host.path("/etc/cni/net.d").iterdir())
    assert not list(host.path("/etc/dockercni").iterdir())


def test_built_in_network_avoids_routes(host: Host, daemon: Start) -> None:
    """The built-in network takes a subnet that the host has no route into, and keeps it."""
    host.run("ip", "route", "add", "10.22.8.0/24", "dev", "out0")
    try:
        first = daemon()
        assert first.wait_event("the built-in network serves")["subnet"] == "10.122.0.0/16"
        assert first.stop() == 0
    finally:
        host.run("ip", "route", "del", "10.22.8.0/24")
    assert daemon().wait_event("the built-in network serves")["subnet"] == "10.122.0.0/16"


def test_ps(host: Host, daemon: Start, cli: Cli) -> None:
    """`ps` lists container, network, interface, address, published ports and state, for people and as JSON."""
    running = daemon("--backend=builtin")
    container_id = run(host, "web", "--publish=8080:80")
    added = running.wait_event("ADD", container="web")
    header, row = cli("ps", check=True).stdout.splitlines()
    assert header.split() == ["CONTAINER", "NETWORK", "INTERFACE", "ADDRESSES", "PORTS", "STATE", "REASON"]
    assert row.split() == ["web", "dockercni", "eth0", *added["addresses"], "0.0.0.0:8080->80/tcp", "attached"]
    (found,) = json.loads(cli("ps", "web", "-o", "json", check=True).stdout)["attachments"]
    assert found | {"mac": "", "netns": ""} == {
        "container": "web",
        "id": container_id,
        "network": "dockercni",
        "ifname": "eth0",
        "addresses": added["addresses"],
        "mac": "",
        "ports": ["0.0.0.0:8080->80/tcp"],
        "unpublished": "",
        "netns": "",
        "state": "attached",
        "problem": "",
        "served": ["native", "native", "native"],
        "backends": ["builtin", "builtin", "builtin"],
    }
    assert found["mac"] in host.container("web").run("ip", "link", "show", "eth0").stdout
    assert found["netns"] == f"/run/netns/dockercni-{container_id}"
    assert cli("ps", "nobody").returncode == 2


def test_networks(host: Host, cli: Cli) -> None:
    """`networks` lists the built-in network, or the configured ones with the default marked, and broken files."""
    header, row = cli("networks", check=True).stdout.splitlines()
    assert header.split() == ["NETWORK", "DEFAULT", "CNI", "PLUGINS", "FILE"]
    assert row.split()[:4] == ["dockercni", "yes", "1.0.0", "bridge,portmap,firewall"]
    network(host, "b", "10.77.2.0/24", file="20-b.conflist")
    network(host, "a", "10.77.1.0/24", file="10-a.conflist")
    host.write("/etc/cni/net.d/30-c.conflist", '{\n"name": "c",')
    done = cli("networks", "-o", "json")
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert [(one["name"], one["default"]) for one in found["networks"]] == [("a", True), ("b", False)]
    assert "30-c.conflist:2" in found["broken"][0]
    assert found["networks"][0]["capabilities"] == ["portMappings"]


def test_pin_is_usable(host: Host, daemon: Start) -> None:
    """While a container is attached, `ip netns exec` reaches its namespace by the pin."""
    running = daemon()
    container_id = run(host, "web")
    added = running.wait_event("ADD", container="web")
    shown = host.run("ip", "netns", "exec", f"dockercni-{container_id}", "ip", "-4", "address").stdout
    assert added["addresses"][0] in shown
    host.docker("rm", "--force", "web")
    wait_until(lambda: not list(host.path("/run/netns").iterdir()), 10, "the end of the pin")


def test_the_engines_mtu(host: Host, daemon: Start, cli: Cli) -> None:
    """The built-in network has the MTU of the engine's own links, also for what starts before the engine answers."""
    host.stop_engine()
    host.start_engine("--mtu=1400")
    running = daemon()
    run(host, "web", "--restart=always")
    running.wait_event("ADD", container="web")
    assert mtu(host, "web") == 1400
    running.stop()
    host.stop_engine()
    again = daemon(wait=False)
    host.start_engine("--mtu=1400")
    again.wait_event("ADD", container="web")
    assert mtu(host, "web") == 1400
    again.stop()
    host.docker("rm", "--force", "web")
    run(host, "next")
    cli("sync", check=True)
    assert mtu(host, "next") == 1400
    host.stop_engine()
    host.start_engine()


def mtu(host: Host, name: str) -> int:
    """The MTU of a container's interface."""
    (link,) = json.loads(host.container(name).run("ip", "-json", "link", "show", "dev", "eth0").stdout)
    return int(link["mtu"])
