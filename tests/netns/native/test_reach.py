"""Reachability by packets, through what the plugins set up: by native ones, by the executables, and by both in turn."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.hosts import NoAnswer, peer_of
from tests.netns.native.conftest import DUAL, FIREWALL, PORTMAP, ROOT, chain

if TYPE_CHECKING:
    from tests.hosts import Outside
    from tests.netns.native.conftest import Attached

PORTS = [
    {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
    {"hostPort": 8053, "containerPort": 53, "protocol": "udp"},
]
V4, V4_NEIGHBOUR = "10.1.0.2", "10.1.0.3"
V6 = "fd00:1::2"
DROP = "iptables -P FORWARD DROP; ip6tables -P FORWARD DROP"


def answers(place: Any, protocol: str, address: str, port: int, timeout: float = 3) -> str:
    """Under which address the server sees `place`; "" without an answer."""
    ask = place.tcp_request if protocol == "tcp" else place.udp_request
    try:
        return peer_of(ask(address, port, timeout=timeout))
    except NoAnswer:
        return ""


@pytest.mark.parametrize("forward", ["ACCEPT", "DROP"])
def test_published(attached: Attached, outside: Outside, forward: str) -> None:
    """Published ports answer to host, localhost, neighbour, the container itself and the outside, in both families."""
    host = attached.host
    if forward == "DROP":
        host.run("sh", "-c", DROP)
    network = chain(PORTMAP, FIREWALL, ipam=DUAL, hairpinMode=True)
    inside, neighbour = attached.container("c1"), attached.container("c2")
    attached.add(network, ports=PORTS)
    attached.add(network, "c2")
    inside.serve_tcp(80)
    inside.serve_udp(53)
    gateways = {outside.host_address: "10.1.0.1", outside.host_address6: "fd00:1::1"}
    for protocol, port in (("tcp", 8080), ("udp", 8053)):
        for address, gateway in gateways.items():
            outer = outside.address if "." in address else outside.address6
            assert answers(outside, protocol, address, port) == outer
            assert answers(host, protocol, address, port)
            assert answers(host, protocol, gateway, port)
            assert answers(inside, protocol, address, port) == gateway
            assert answers(neighbour, protocol, address, port) == gateway
            assert answers(neighbour, protocol, gateway, port) == gateway
        assert answers(host, protocol, "127.0.0.1", port) == "10.1.0.1"
        assert not answers(outside, protocol, outside.host_address, port + 1, timeout=0.5)
    attached.run("DEL", network, ports=PORTS)
    assert not answers(host, "tcp", "127.0.0.1", 8080, timeout=0.5)
    assert not answers(outside, "tcp", outside.host_address, 8080, timeout=0.5)


@pytest.mark.parametrize("backend", ["builtin", "exec"])
def test_loopback_of_ipv6_is_refused(attached: Attached, outside: Outside, backend: str) -> None:
    """[::1] leads to no container, whoever publishes: a client there is refused at once, and others are answered."""
    host, inside = attached.host, attached.container("c1")
    attached.add(chain(PORTMAP, ipam=DUAL), ports=PORTS, backend=backend)
    inside.serve_tcp(80)
    inside.serve_udp(53)
    for again in (False, True):
        if again:
            host.run("sh", "-c", "nft delete table inet dockercni")
            attached.run("DEL", chain(PORTMAP, ipam=DUAL), ports=PORTS, backend=backend)
            attached.add(chain(PORTMAP, ipam=DUAL), ports=PORTS, backend=backend)
        for protocol, port in (("tcp", 8080), ("udp", 8053)):
            request = host.tcp_request if protocol == "tcp" else host.udp_request
            # what a sender of datagrams hears first is the kernel's choice: the answer, or that it was not sent
            with pytest.raises(NoAnswer, match="refused" if protocol == "tcp" else "refused|not permitted"):
                request("::1", port, timeout=3)
            assert answers(host, protocol, "127.0.0.1", port)
            assert answers(outside, protocol, outside.host_address6, port) == outside.address6
            # duplicate address detection may not be over
            host.wait_until(lambda: answers(host, protocol, "fd00:1::1", port, timeout=1), 20, "an answer")  # noqa: B023
    host.serve_tcp(9000)
    assert answers(host, "tcp", "::1", 9000) == "::1"


def test_outgoing(attached: Attached, outside: Outside) -> None:
    """What leaves is seen under the host's address, in both families; what stays in the subnet is not changed."""
    network = chain(ipam=DUAL)
    inside, neighbour = attached.container("c1"), attached.container("c2")
    attached.add(network)
    attached.add(network, "c2")
    for place in (outside, neighbour):
        place.serve_tcp(7000)
        place.serve_udp(7000)
    for protocol in ("tcp", "udp"):
        assert answers(inside, protocol, outside.address, 7000) == outside.host_address
        assert answers(inside, protocol, outside.address6, 7000) == outside.host_address6
        assert answers(inside, protocol, V4_NEIGHBOUR, 7000) == V4
        assert answers(inside, protocol, "fd00:1::3", 7000) == V6


def test_between_networks(attached: Attached) -> None:
    """What goes from one network to another is masqueraded, as the reference does."""
    inside, other = attached.container("c1"), attached.container("c2")
    attached.add(chain())
    second = {"type": "host-local", "ranges": [[{"subnet": "10.2.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}
    attached.add(chain(name="second", bridge="cni1", ipam=second), "c2")
    other.serve_tcp(7000)
    assert answers(inside, "tcp", "10.2.0.2", 7000) == "10.2.0.1"


def test_one_address_of_the_host(attached: Attached, outside: Outside) -> None:
    """A port of one address of the host answers there and nowhere else; 127.0.0.1 means the host itself only."""
    host = attached.host
    inside = attached.container("c1")
    ports = [
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": outside.host_address},
        {"hostPort": 8081, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"},
        {"hostPort": 8082, "containerPort": 80, "protocol": "tcp", "hostIP": "::"},
    ]
    attached.add(chain(PORTMAP, FIREWALL, ipam=DUAL), ports=ports)
    inside.serve_tcp(80)
    assert answers(outside, "tcp", outside.host_address, 8080) == outside.address
    assert not answers(host, "tcp", "127.0.0.1", 8080, timeout=0.5)
    assert answers(host, "tcp", "127.0.0.1", 8081)
    assert not answers(outside, "tcp", outside.host_address, 8081, timeout=0.5)
    assert answers(outside, "tcp", outside.host_address6, 8082) == outside.address6
    assert not answers(outside, "tcp", outside.host_address, 8082, timeout=0.5)


def test_loopback_of_the_host_is_closed(attached: Attached) -> None:
    """route_localnet, which publishing needs, lets no container reach a service on the host's 127.0.0.1."""
    host = attached.host
    inside = attached.container("c1")
    attached.add(chain(PORTMAP), ports=PORTS)
    assert host.run("cat", "/proc/sys/net/ipv4/conf/cni0/route_localnet").stdout.strip() == "1"
    host.serve_tcp(9000)
    assert answers(host, "tcp", "127.0.0.1", 9000)
    lines = (
        "ip address delete 127.0.0.1/8 dev lo",
        "ip route add 127.0.0.1 via 10.1.0.1 dev eth0",
        "sysctl -qw net.ipv4.conf.eth0.route_localnet=1",
    )
    script = "; ".join(lines)
    inside.run("sh", "-c", script)
    assert not answers(inside, "tcp", "127.0.0.1", 9000, timeout=0.5)
    host.run("nft", "flush", "chain", "inet", "dockercni", "input")
    assert answers(inside, "tcp", "127.0.0.1", 9000), "the test would not notice"


def test_stale_udp(attached: Attached, outside: Outside) -> None:
    """A client that asked before the port was published gets through afterwards from the same port of its own."""
    inside = attached.container("c1")
    attached.container("c2")
    attached.add(chain(PORTMAP), "c2", ports=[{"hostPort": 1, "containerPort": 1, "protocol": "tcp"}])
    client = (
        "import socket,sys,time\n"
        "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.bind(('',4444));s.settimeout(0.2)\n"
        "end=time.monotonic()+10\n"
        "while time.monotonic()<end:\n"
        f"    s.sendto(b'x',('{outside.host_address}',8053))\n"
        "    try: print(s.recv(100).decode());sys.exit()\n"
        "    except OSError: pass\n"
        "sys.exit('no answer')\n"
    )
    asking = outside.popen("python3", "-c", client)
    tracked = ("cat", "/proc/net/nf_conntrack")
    attached.host.wait_until(lambda: "dport=8053" in attached.host.run(*tracked).stdout, 5, "UDP")
    attached.add(chain(PORTMAP), ports=PORTS)
    inside.serve_udp(53)
    assert asking.process.wait(12) == 0, asking.text()


@pytest.mark.parametrize(
    ("backend", "policy"),
    [
        ("builtin", "open"),
        ("builtin", "same-bridge"),
        ("builtin", "isolated"),
        ("exec", "open"),
        ("exec", "same-bridge"),
    ],
)
def test_ingress_policy(attached: Attached, policy: str, backend: str) -> None:
    """Networks with a policy are kept apart from each other, by either backend."""
    firewall = {"type": "firewall", "ingressPolicy": policy}
    second = {"type": "host-local", "ranges": [[{"subnet": "10.2.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}
    inside, neighbour, other = (attached.container(name) for name in ("c1", "c2", "c3"))
    attached.add(chain(firewall), backend=backend)
    attached.add(chain(firewall), "c2", backend=backend)
    attached.add(chain(firewall, name="second", bridge="cni1", ipam=second), "c3", backend=backend)
    for place in (neighbour, other):
        place.serve_tcp(7000)
    # what is bridged passes FORWARD only where the kernel shows it to iptables
    shown = attached.host.run("cat", "/proc/sys/net/bridge/bridge-nf-call-iptables", check=False).stdout.strip() == "1"
    apart = policy == "isolated" and shown
    assert bool(answers(inside, "tcp", "10.1.0.3", 7000, timeout=1)) != apart
    assert bool(answers(inside, "tcp", "10.2.0.2", 7000, timeout=1)) == (policy == "open")


BACKENDS = {"builtin-exec": ("builtin", "exec"), "exec-builtin": ("exec", "builtin")}


@pytest.mark.parametrize("case", BACKENDS)
def test_taken_down_by_the_other(attached: Attached, case: str) -> None:
    """Links and leases put up by one backend are taken down by the other one."""
    up, down = BACKENDS[case]
    network = chain(ipMasq=False)
    attached.container("c1")
    attached.add(network, backend=up)
    attached.host.run("sh", "-c", 'sed -i \'s/"dockercni":{[^}]*}[^}]*}/"x":0/\' /var/lib/cni/results/*')
    attached.run("DEL", network, backend=down)
    assert attached.left() == {"links": "", "leases": "", "rules": "", "cache": ""}


@pytest.mark.parametrize("builtin", ["bridge", "portmap", "firewall"])
def test_mixed_chain(attached: Attached, outside: Outside, builtin: str) -> None:
    """A chain in which one plugin is built-in and the others are executables publishes a port, and leaves nothing."""
    alien = {
        "bridge": ("bridge", {"ipMasqBackend": None, "x-alien": 1}),
        "portmap": ("portmap", {"x-alien": 1}),
        "firewall": ("firewall", {"x-alien": 1}),
    }
    network = chain(dict(PORTMAP), dict(FIREWALL))
    for plugin in network["plugins"]:
        if plugin["type"] != builtin:
            plugin.update(alien[plugin["type"]][1])
    inside = attached.container("c1")
    attached.add(network, ports=PORTS, backend="auto")
    inside.serve_tcp(80)
    assert answers(outside, "tcp", outside.host_address, 8080) == outside.address
    assert answers(attached.host, "tcp", "127.0.0.1", 8080)
    if builtin == "portmap":  # the CHECK of the installed portmap fails without IPv6
        attached.run("CHECK", network, ports=PORTS, backend="auto")
    attached.run("DEL", network, ports=PORTS, backend="auto")
    assert attached.left() == {"links": "", "leases": "", "rules": "", "cache": ""}


USER_CHAIN = "iptables -N DOCKER-USER; iptables -I FORWARD -j DOCKER-USER; iptables -A DOCKER-USER -j RETURN"
REFUSE = "iptables -I DOCKER-USER -p tcp -m conntrack --ctorigdstport 8081 -j DROP"


def test_the_plugin_alone(attached: Attached, outside: Outside) -> None:
    """For another runtime the firewall plugin opens FORWARD behind DOCKER-USER, whose rules win, and leaves nothing."""
    host = attached.host
    host.run("sh", "-ec", f"{DROP}; {USER_CHAIN}; {REFUSE}")
    ports = [{"hostPort": port, "containerPort": 80, "protocol": "tcp"} for port in (8080, 8081)]
    network = chain(PORTMAP, FIREWALL, ipam=DUAL)
    for name in ("c1", "c2"):
        attached.container(name).serve_tcp(80)
    attached.add(network, ports=ports)
    attached.add(network, "c2")
    assert answers(outside, "tcp", outside.host_address, 8080) == outside.address
    assert answers(outside, "tcp", outside.host_address6, 8080) == outside.address6
    assert not answers(outside, "tcp", outside.host_address, 8081, timeout=0.5)
    attached.run("CHECK", network, ports=ports)
    attached.run("DEL", network, ports=ports)
    assert "dockercni-firewall:cni0" in host.run("iptables", "-S", "CNI-FORWARD").stdout
    attached.run("DEL", network, "c2")
    for command in ("iptables", "ip6tables"):
        assert "dockercni" not in host.run(f"{command}-save").stdout


def test_the_plugin_behind_one_that_lists_no_link(attached: Attached, outside: Outside) -> None:
    """Where no link of the host is listed, addresses are let through, as the reference has it."""
    host = attached.host
    host.run("sh", "-ec", DROP)
    attached.container("c1")
    result = attached.add(chain())
    outside.serve_tcp(7000)
    assert not answers(attached.container_of("c1"), "tcp", outside.address, 7000, timeout=0.5)
    previous = {**result, "interfaces": [one for one in result["interfaces"] if "sandbox" in one]}
    previous["ips"] = [{**one, "interface": 0} for one in result["ips"]]
    conf = json.dumps({"cniVersion": "1.0.0", "name": "net", "type": "firewall", "prevResult": previous})
    env = {"CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/c1", "CNI_IFNAME": "eth0", "CNI_PATH": "/usr/lib/cni"}
    for verb, expected in (("ADD", outside.host_address), ("CHECK", outside.host_address), ("DEL", "")):
        command = (sys.executable, "-m", "dockercni.plugins", "firewall")
        host.run(*command, env={**env, "CNI_COMMAND": verb, "PYTHONPATH": str(ROOT)}, input=conf)
        assert answers(attached.container_of("c1"), "tcp", outside.address, 7000, timeout=1) == expected
    assert "dockercni" not in host.run("iptables-save").stdout
