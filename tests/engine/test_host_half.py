"""The host's half of a network is kept: whatever goes comes back in place, and is named until then."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import address, conflist, network, run, wait_attached
from tests.hosts import Host, NoAnswer, Outside, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.daemons import Cli, Daemon, Start
    from tests.hosts import Place

BOTH = {
    "ranges": [[{"subnet": "10.9.0.0/24"}], [{"subnet": "fd09::/64"}]],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
}
DAMAGE = {
    "ip link delete cni-lan": "bridge cni-lan",
    "ip address flush dev cni-lan": "10.9.0.1/24 on cni-lan",
    "ip -6 address flush dev cni-lan": "fd09::1/64 on cni-lan",
    "ip route flush dev cni-lan": "route 10.9.0.0/24 over cni-lan",
    "ip -6 route flush dev cni-lan": "route fd09::/64 over cni-lan",
    "sysctl -qw net.ipv6.conf.cni-lan.disable_ipv6=1": "fd09::1/64 on cni-lan",
    "ip link set cni-lan down": "cni-lan up",
    "ip link set PORT nomaster": "port PORT on cni-lan",
    "ip link set PORT down": "PORT up",
    "bridge link set dev PORT state 0": "forwarding by PORT",
    "ip link set PORT type bridge_slave hairpin off": "hairpin mode of PORT",
    "sysctl -qw net.ipv4.ip_forward=0": "forwarding of IPv4",
    "sysctl -qw net.ipv6.conf.all.forwarding=0": "forwarding of IPv6",
    "sysctl -qw net.ipv4.conf.cni-lan.forwarding=0": "forwarding of IPv4 on cni-lan",
}
BACKENDS = pytest.mark.parametrize("backend", ["builtin", "exec"])


def port_of(host: Host, name: str) -> str:
    """The host's end of the container's link."""
    (link,) = json.loads(host.container(name).run("ip", "-json", "link", "show", "eth0").stdout)
    links = json.loads(host.run("ip", "-json", "link").stdout)
    return next(str(one["ifname"]) for one in links if one["ifindex"] == link["link_index"])


def reaches(place: Place, *targets: tuple[str, int]) -> bool:
    """Whether all of them answer."""
    try:
        return all(place.tcp_request(where, port, timeout=1) for where, port in targets)
    except NoAnswer:
        return False


def link_of(host: Host, name: str) -> tuple[int, str]:
    """What must not change: index and MAC of the container's interface."""
    (link,) = json.loads(host.container(name).run("ip", "-json", "link", "show", "eth0").stdout)
    return link["ifindex"], link["address"]


def damaged(host: Host, running: Daemon, command: str, words: str) -> None:
    """Do it, and wait until the daemon has put back what these words name, for whichever container comes first."""
    seen = len(running.log())
    host.run("/bin/sh", "-c", command)
    wait_until(
        lambda: any(event["event"] == "REPAIR" and words in event["reason"] for event in running.log()[seen:]),
        20,
        f"repair after {command}",
        running.program.text,
    )


@pytest.mark.timeout(300)
@BACKENDS
def test_bridge(host: Host, outside: Outside, daemon: Start, backend: str) -> None:
    """Bridge, addresses, ports and forwarding come back by themselves for all containers; traffic passes as before."""
    outside.serve_tcp(9000)
    host.serve_tcp(9100)
    network(host, "lan", "10.9.0.0/24", ipam={"type": "host-local", **BOTH})
    running = daemon(f"--backend={backend}")
    for name in ("web", "other"):
        run(host, name)
        running.wait_event("ADD", container=name)  # its address may be there for a moment before, and go again
    begun = len(running.log())
    host.container("other").serve_tcp(9200)
    other = address(host, "other")
    web, port, before = host.container("web"), port_of(host, "web"), link_of(host, "web")
    mac = host.run("cat", "/sys/class/net/cni-lan/address").stdout
    targets = ((outside.address, 9000), ("10.9.0.1", 9100), ("fd09::1", 9100), (other, 9200))
    wait_until(lambda: reaches(web, *targets), 20, "traffic")
    for command, words in DAMAGE.items():
        damaged(host, running, command.replace("PORT", port), words.replace("PORT", port))
        wait_until(lambda: reaches(web, *targets), 20, f"traffic after {command}", running.program.text)
        assert link_of(host, "web") == before
        assert host.run("cat", "/sys/class/net/cni-lan/address").stdout == mac, command
    assert not [event for event in running.log()[begun:] if event["level"] in {"warning", "error"}]


@pytest.mark.timeout(300)
def test_point_to_point(host: Host, outside: Outside, daemon: Start) -> None:
    """The host's end of a ptp link gets its address, its state and the route to the container again."""
    outside.serve_tcp(9000)
    host.serve_tcp(9100)
    ipam = {"type": "host-local", **BOTH}
    conflist(host, "lan", [{"type": "ptp", "ipMasq": True, "ipam": ipam}, {"type": "firewall"}])
    running = daemon()
    run(host, "web")
    running.wait_event("ADD", container="web")
    port = port_of(host, "web")
    targets = ((outside.address, 9000), ("10.9.0.1", 9100), ("fd09::1", 9100))
    wait_until(lambda: reaches(host.container("web"), *targets), 20, "traffic")
    for command, words in {
        f"ip address flush dev {port}": f"10.9.0.1/32 on {port}",
        f"ip link set {port} down": f"{port} up",
        f"ip route delete {address(host, 'web')}": f"route {address(host, 'web')} over {port}",
        f"sysctl -qw net.ipv6.conf.{port}.disable_ipv6=1": f"fd09::1/128 on {port}",
        "sysctl -qw net.ipv4.ip_forward=0": "forwarding of IPv4",
    }.items():
        damaged(host, running, command, words)
        wait_until(lambda: reaches(host.container("web"), *targets), 20, f"traffic after {command}")


@pytest.mark.parametrize("conf", [{"master": "par0"}, {}], ids=["named", "by the default route"])
def test_parent(host: Host, daemon: Start, cli: Cli, conf: dict[str, str]) -> None:
    """A macvlan's parent that is down is the administrator's: named by all commands, and left alone; also that which
    the plugin has chosen, and over which there is no default route once it is down."""
    host.run(
        "/bin/sh", "-c", "ip link add name par0 type veth peer name par1; ip link set par0 up; ip link set par1 up"
    )
    kept = host.run("ip", "route", "show", "default").stdout
    host.run("ip", "route", "flush", "default")
    host.run("ip", "route", "add", "default", "dev", "par0")
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.9.0.0/24"}]]}
    conflist(host, "lan", [{"type": "macvlan", **conf, "ipam": ipam}])
    daemon()
    run(host, "web")
    wait_attached(host, "web")
    host.run("ip", "link", "set", "par0", "down")
    if kept:
        host.run("ip", "route", "add", *kept.split())
    for command, code in ((("sync",), 3), (("status",), 3), (("check",), 3), (("doctor",), 1)):
        done = cli(*command)
        assert done.returncode == code, (command, done.stdout)
        assert "its parent par0 is down" in done.stdout, command
    host.run("ip", "link", "set", "par0", "up")
    assert cli("status").returncode == 0
    host.run("ip", "link", "delete", "par0")


@pytest.mark.timeout(300)
@BACKENDS
def test_commands_agree(host: Host, daemon: Start, cli: Cli, backend: str) -> None:
    """What is missing on the host is named by every command that judges, and by its exit code, until it is mended."""
    network(host, "lan", "10.9.0.0/24", ipam={"type": "host-local", **BOTH})
    running = daemon(f"--backend={backend}")
    run(host, "web", "-p", "8080:80")
    running.wait_event("ADD", container="web")
    assert cli("status", "--wait=20s").returncode == 0
    running.kill()
    host.run("ip", "link", "delete", "cni-lan")
    judged = ((("sync", "--dry-run"), 3), (("status",), 1), (("check",), 3), (("doctor",), 1), (("explain", "web"), 0))
    for command, code in judged:
        done = cli(*command)
        assert done.returncode == code, (command, done.stdout)
        assert "bridge cni-lan" in done.stdout, (command, done.stdout)
        assert command[0] != "status" or "not converged" in done.stdout
    assert re.search(r"damaged +missing: bridge cni-lan", cli("ps").stdout)
    assert "REPAIR web lan eth0" in cli("sync", check=True).stdout
    assert host.run("cat", "/proc/sys/net/ipv4/conf/cni-lan/route_localnet").stdout == "1\n"
    assert cli("check").returncode == 0
    assert "0 repaired" in cli("sync", check=True).stdout


@pytest.fixture
def router(host: Host) -> Iterator[str]:
    """A router on a second uplink of the host, which advertises itself; the uplink's name.

    The host listens, as every host does that is no router yet.
    """
    host.run("/bin/sh", "-euc", ROUTER)
    server = host.popen(
        *("ip", "netns", "exec", "router", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0"),
        *("--log-facility=-", "--user=root", "--pid-file=", "--interface=rtr0", "--enable-ra", "--ra-param=rtr0,4,60"),
        "--dhcp-range=::,constructor:rtr0,ra-only",
    )
    yield "upl0"
    server.kill()
    host.run("ip", "netns", "delete", "router")
    wait_until(lambda: "upl0" not in host.run("ip", "link").stdout, 20, "no uplink")


ROUTER = """
sysctl -qw net.ipv6.conf.all.forwarding=0
ip netns add router
ip link add name upl0 type veth peer name rtr0 netns router
sysctl -qw net.ipv6.conf.upl0.disable_ipv6=0 net.ipv6.conf.upl0.accept_ra=1
ip netns exec router sysctl -qw net.ipv6.conf.all.forwarding=1
ip -n router address add fd77::1/64 dev rtr0 nodad
ip -n router link set rtr0 up
ip link set upl0 up
"""


def learned(host: Host, link: str) -> str:
    """The default routes of IPv6 over that link."""
    return host.run("ip", "-6", "route", "show", "default", "dev", link).stdout


@BACKENDS
def test_router_advertisements(host: Host, daemon: Start, router: str, backend: str) -> None:
    """The first IPv6 network makes the host a router; its own default route stays, and later advertisements count."""
    wait_until(lambda: learned(host, router), 30, "a default route by router advertisement")
    network(host, "lan", "10.9.0.0/24", ipam={"type": "host-local", **BOTH})
    running = daemon(f"--backend={backend}")
    run(host, "web")
    running.wait_event("ADD", container="web")
    assert host.run("sysctl", "-n", "net.ipv6.conf.all.forwarding").stdout == "1\n"
    assert learned(host, router)
    host.run("ip", "-6", "route", "delete", "default", "dev", router)
    wait_until(lambda: learned(host, router), 30, "the next router advertisement")


def test_router_advertisements_cannot_be_kept(host: Host, daemon: Start, router: str) -> None:
    """Where the host's default route would go, the network is refused, with the setting that is in the way."""
    wait_until(lambda: learned(host, router), 30, "a default route by router advertisement")
    setting = f"/proc/sys/net/ipv6/conf/{router}/accept_ra"
    host.run("mount", "--bind", "-o", "ro", setting, setting)
    host.run("mount", "-o", "remount,bind,ro", setting)
    try:
        network(host, "lan", "10.9.0.0/24", ipam={"type": "host-local", **BOTH})
        running = daemon()
        run(host, "web")
        failed = running.wait_event("ADD failed", container="web")
        assert f"net/ipv6/conf/{router}/accept_ra" in failed["reason"]
        assert learned(host, router)
    finally:
        host.run("umount", setting)
