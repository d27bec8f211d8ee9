"""What passes FORWARD: a chain of our own behind the administrator's, from the first container to the last."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import ask, conflist, network, request, run, wait_clean
from tests.hosts import IMAGE, NoAnswer, serve_tcp, wait_until
from tests.hosts.outside import ADDRESS, ADDRESS6, HOST_ADDRESS, HOST_ADDRESS6, HOST_LINK

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engine.daemons import Cli, Daemon, Start
    from tests.hosts import Host, Outside, Place

CHAIN = "DOCKERCNI-FORWARD"
FAMILIES = ("iptables", "ip6tables")


def rules(host: Host, chain: str, command: str = "iptables") -> list[str]:
    """The rules of a chain; none where there is no such chain."""
    lines = host.run(command, "-S", chain, check=False).stdout.splitlines()
    return [line.removeprefix(f"-A {chain} ") for line in lines if line.startswith("-A ")]


def opened(host: Host, command: str = "iptables") -> list[str]:
    """The links that our chain lets through."""
    return [rule.split()[1] for rule in rules(host, CHAIN, command) if rule.startswith("-i ") and "comment" in rule]


def placed(host: Host) -> bool:
    """Whether our chain is there once, directly behind DOCKER-USER, and CNI-FORWARD, if it is there, further down."""
    jumps = [rule.rpartition(" ")[2] for rule in rules(host, "FORWARD")]
    at = jumps.index("DOCKER-USER") if "DOCKER-USER" in jumps else -1
    return jumps.count(CHAIN) == 1 and jumps[at : at + 2] == ["DOCKER-USER", CHAIN] and "CNI-FORWARD" not in jumps[:at]


def wait_placed(host: Host) -> None:
    """Wait for it."""
    wait_until(lambda: placed(host), 10, "our chain behind DOCKER-USER", lambda: rules(host, "FORWARD"))


def reached(place: Place, where: str, port: int) -> bool:
    """Whether a server answers over TCP."""
    try:
        return bool(request(place, "tcp", where, port, timeout=1))
    except NoAnswer:
        return False


def inner(host: Host, name: str, link: str = "eth0", family: int = 4) -> str:
    """The address of a container."""
    shown = host.container(name).run("ip", "-json", f"-{family}", "address", "show", "dev", link, "scope", "global")
    return str(json.loads(shown.stdout)[0]["addr_info"][0]["local"])


def serving(host: Host, running: Daemon, name: str, *flags: str) -> str:
    """Run a container that serves on port 80, and wait until it does; its address."""
    run(host, name, *flags, command=serve_tcp(80))
    running.wait_event("ADD", container=name)
    where = inner(host, name)
    ask(host, "tcp", where, 80)
    return where


def docked(host: Host, name: str, *flags: str) -> str:
    """The same on one of Docker's own networks."""
    host.docker("run", "--detach", f"--name={name}", *flags, IMAGE, *serve_tcp(80))
    where = inner(host, name)
    ask(host, "tcp", where, 80)
    return where


def test_first_and_last(host: Host, daemon: Start) -> None:
    """A bridge is let through with its first container, for as long as one is left, in both families; what the
    administrator has in DOCKER-USER is not touched."""
    network(host, "a", "10.77.1.0/24")
    network(host, "b", "10.77.2.0/24")
    host.run("iptables", "-I", "DOCKER-USER", "-s", "203.0.113.9", "-j", "DROP")
    before = rules(host, "DOCKER-USER")
    running = daemon()
    for name, which in (("one", "a"), ("two", "a"), ("other", "b")):
        run(host, name, f"--label=dockercni.networks={which}")
        running.wait_event("ADD", container=name)
    assert [opened(host, command) for command in FAMILIES] == [["cni-a", "cni-b"]] * 2
    assert placed(host)
    for name, left in (("one", ["cni-a", "cni-b"]), ("two", ["cni-b"]), ("other", [])):
        host.docker("rm", "--force", name)
        running.wait_event("DEL", container=name)
        for command in FAMILIES:
            wait_until(lambda want=left, one=command: opened(host, one) == want, 10, f"{left} in {command}")
    assert rules(host, "DOCKER-USER") == before
    assert not any("DOCKERCNI" in host.run(f"{command}-save").stdout for command in FAMILIES)
    host.run("iptables", "-D", "DOCKER-USER", "-s", "203.0.113.9", "-j", "DROP")
    wait_clean(host)


def test_closed_by_one_process_opened_by_another(host: Host, daemon: Start, cli: Cli) -> None:
    """What the daemon opened and a command closed is opened again for the next container of the daemon."""
    running = daemon()
    run(host, "one")
    running.wait_event("ADD", container="one")
    cli("del", "one", check=True)  # the daemon sees its link go, and may attach it anew at once
    run(host, "two")
    running.wait_event("ADD", container="two")
    assert opened(host) == ["dockercni0"]


def test_machines_on_the_bridge(host: Host, daemon: Start) -> None:
    """Records decide: a port of the bridge that leads to other hosts keeps nothing open."""
    network(host, "a", "10.77.1.0/24", ipMasq=False)
    running = daemon()
    run(host, "one", "--label=dockercni.networks=a")
    running.wait_event("ADD", container="one")
    host.run("ip", "link", "add", "vx7", "type", "vxlan", "id", "7", "dstport", "4789", "local", "198.51.100.1")
    host.run("ip", "link", "set", "vx7", "master", "cni-a")
    host.docker("rm", "--force", "one")
    running.wait_event("DEL", container="one")
    wait_until(lambda: CHAIN not in host.run("iptables-save").stdout, 10, "the end of the chain")
    wait_clean(host)


@pytest.mark.parametrize("backend", ["auto", "exec"])
def test_links_of_their_own(host: Host, outside: Outside, daemon: Start, backend: str) -> None:
    """A network of point-to-point links leaves nothing in FORWARD, however often its container starts, nor when the
    daemon was killed meanwhile; and its ports answer other machines."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.77.3.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    conflist(host, "p", [{"type": "ptp", "ipMasq": True, "ipam": ipam}, portmap, {"type": "firewall"}])
    running = daemon(f"--backend={backend}")
    run(host, "web", "--publish=8080:80", command=serve_tcp(80))
    running.wait_event("ADD", container="web")
    assert ask(outside, "tcp", outside.host_address, 8080)
    for _ in range(2):
        seen = len(running.log())
        host.docker("restart", "--time=0", "web")
        running.wait_event("ADD", container="web", after=seen)
        assert len(opened(host)) == 1
    running.kill()
    host.docker("rm", "--force", "web")
    daemon(f"--backend={backend}")
    wait_until(lambda: CHAIN not in host.run("iptables-save").stdout, 10, "the end of the chain")
    wait_clean(host)


EVENTS: dict[str, Callable[[Host, Daemon, Cli], object]] = {
    "container": lambda host, _daemon, _cli: host.docker("restart", "--time=0", "web"),
    "sync": lambda _host, _daemon, cli: cli("sync", check=True),
    "network": lambda host, _daemon, _cli: host.docker("network", "create", "docks"),
    "flush": lambda host, _daemon, _cli: host.run("iptables", "-F", "FORWARD"),
    "top": lambda host, _daemon, _cli: host.run(
        "sh", "-c", f"iptables -D FORWARD -j {CHAIN}; iptables -I FORWARD -j {CHAIN}"
    ),
    "reference": lambda host, _daemon, _cli: host.run(
        "sh", "-c", "iptables -N CNI-FORWARD; iptables -I FORWARD -j CNI-FORWARD; iptables -A CNI-FORWARD -j ACCEPT"
    ),
}


@pytest.mark.parametrize("event", EVENTS)
def test_the_administrator_comes_first(host: Host, outside: Outside, daemon: Start, cli: Cli, event: str) -> None:
    """What DOCKER-USER drops is dropped, and what comes behind it passes again, whatever happened to FORWARD."""
    running = daemon()
    run(host, "web", "--publish=8080:80", "--publish=8081:80", "--restart=always", command=serve_tcp(80))
    running.wait_event("ADD", container="web")
    assert ask(outside, "tcp", outside.host_address, 8080)
    drop = ("DOCKER-USER", "-m", "conntrack", "--ctorigdstport", "8080", "-p", "tcp", "-j", "DROP")
    host.run("iptables", "-I", *drop)
    try:
        EVENTS[event](host, running, cli)
        wait_placed(host)
        assert ask(outside, "tcp", outside.host_address, 8081)
        assert not reached(outside, outside.host_address, 8080)
    finally:
        host.run("iptables", "-D", *drop)
        host.docker("network", "rm", "docks", check=False)
    assert ask(outside, "tcp", outside.host_address, 8080)


def test_after_the_engine_restarted(host: Host, outside: Outside, daemon: Start) -> None:
    """A published port answers the outside again after the engine was restarted, and the administrator's DROP holds."""
    running = daemon()
    run(host, "web", "--restart=always", "--publish=8080:80", "--publish=8081:80", command=serve_tcp(80))
    running.wait_event("ADD", container="web")
    host.run("iptables", "-I", "DOCKER-USER", "-m", "conntrack", "--ctorigdstport", "8081", "-p", "tcp", "-j", "DROP")
    before = len(running.log())
    host.stop_engine()
    host.start_engine()
    running.wait_event("ADD", container="web", after=before, timeout=40)
    assert ask(outside, "tcp", outside.host_address, 8080)
    assert not reached(outside, outside.host_address, 8081)
    wait_placed(host)


def test_rules_of_the_version_before(host: Host, daemon: Start) -> None:
    """What earlier versions wrote among the administrator's rules goes, and nothing else there."""
    mark = ("-m", "comment", "--comment", "dockercni:dockercni0", "-j", "ACCEPT")
    host.run("iptables", "-I", "DOCKER-USER", "-s", "203.0.113.9", "-j", "DROP")
    before = rules(host, "DOCKER-USER")
    host.run("iptables", "-I", "DOCKER-USER", "-i", "dockercni0", *mark)
    host.run(
        "iptables", "-I", "DOCKER-USER", "-o", "gone0", "-m", "comment", "--comment", "dockercni:gone0", "-j", "ACCEPT"
    )
    running = daemon()
    run(host, "web")
    running.wait_event("ADD", container="web")
    wait_until(lambda: rules(host, "DOCKER-USER") == before, 10, "the administrator's rules alone")
    assert opened(host) == ["dockercni0"]


def test_ip6tables_drops(host: Host, outside: Outside, daemon: Start) -> None:
    """IPv6 passes as IPv4 does where ip6tables drops what nobody accepts: outward, and inward to published ports."""
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": "10.77.1.0/24"}], [{"subnet": "fd77:1::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    }
    network(host, "a", "10.77.1.0/24", ipam=ipam)
    host.run("ip6tables", "-P", "FORWARD", "DROP")
    outside.serve_tcp(9100)
    try:
        running = daemon()
        run(host, "web", "--publish=8080:80", command=serve_tcp(80))
        running.wait_event("ADD", container="web")
        assert ask(host.container("web"), "tcp", outside.address6, 9100)
        assert ask(outside, "tcp", outside.host_address6, 8080)
        assert not reached(outside, inner(host, "web", family=6), 80)
        host.run("ip6tables", "-F", "FORWARD")
        wait_until(lambda: reached(outside, outside.host_address6, 8080), 10, "IPv6 after a flush")
    finally:
        host.run("ip6tables", "-P", "FORWARD", "ACCEPT")


@pytest.mark.parametrize("backend", ["auto", "exec"])
def test_networks_are_apart(host: Host, outside: Outside, daemon: Start, backend: str) -> None:
    """Networks reach each other's published ports and no others, nor Docker's bridges ours, nor ours Docker's; what
    stays on a bridge, goes outward, or the administrator accepts passes."""
    network(host, "a", "10.77.1.0/24")
    network(host, "b", "10.77.2.0/24")
    outside.serve_tcp(9100)
    host.docker("network", "create", "--subnet=10.78.0.0/24", "docks")
    try:
        running = daemon(f"--backend={backend}")
        one = serving(host, running, "one", "--label=dockercni.networks=a", "--publish=8081:80")
        two = serving(host, running, "two", "--label=dockercni.networks=a")
        other = serving(host, running, "other", "--label=dockercni.networks=b")
        docks = [docked(host, "dock0", "--publish=8082:80"), docked(host, "dock1", "--network=docks")]
        wait_placed(host)
        wait_until(lambda: len(rules(host, "DOCKERCNI-ISOLATION")) == 6, 10, "Docker's bridges")
        names = {"one": one, "two": two, "other": other, "dock0": docks[0], "dock1": docks[1]}
        places = {name: host.container(name) for name in names}
        apart = {
            (here, there) for here in names for there in names if here.startswith("dock") or there.startswith("dock")
        }
        apart |= {(here, "other") for here in ("one", "two")} | {("other", there) for there in ("one", "two")}
        for here in names:
            for there, where in names.items():
                if here != there and not (here.startswith("dock") and there.startswith("dock")):
                    assert reached(places[here], where, 80) == ((here, there) not in apart), f"{here} to {there}"
            assert reached(places[here], outside.host_address, 8081), f"{here} to a port that one publishes"
            assert reached(places[here], outside.host_address, 8082), f"{here} to a port that Docker publishes"
            assert reached(places[here], outside.address, 9100), f"{here} outward"
        host.run("iptables", "-I", "DOCKER-USER", "-i", "cni-a", "-o", "cni-b", "-j", "ACCEPT")
        host.run("iptables", "-I", "DOCKER-USER", "-i", "cni-b", "-o", "cni-a", "-j", "ACCEPT")
        assert reached(places["one"], other, 80)
    finally:
        host.docker("rm", "--force", "dock1", check=False)
        host.docker("network", "rm", "docks")


def test_open_networks(host: Host, daemon: Start) -> None:
    """A network whose firewall plugin has the ingress policy "open" is reached from others, and does not reach them."""
    for name, subnet in (("a", "10.77.1.0/24"), ("b", "10.77.2.0/24")):
        network(host, name, subnet)
    path = host.path("/etc/cni/net.d/10-b.conflist")
    path.write_text(path.read_text().replace('"type": "firewall"', '"type": "firewall", "ingressPolicy": "open"'))
    running = daemon()
    one = serving(host, running, "one", "--label=dockercni.networks=a")
    other = serving(host, running, "other", "--label=dockercni.networks=b")
    docked(host, "dock0")
    for place in ("one", "dock0"):
        assert reached(host.container(place), other, 80), place
    assert not reached(host.container("other"), one, 80)


def test_isolation_off(host: Host, daemon: Start) -> None:
    """With isolation off networks reach each other."""
    for name, subnet in (("a", "10.77.1.0/24"), ("b", "10.77.2.0/24")):
        network(host, name, subnet)
    running = daemon("--isolation=off")
    one = serving(host, running, "one", "--label=dockercni.networks=a")
    other = serving(host, running, "other", "--label=dockercni.networks=b")
    assert reached(host.container("one"), other, 80)
    assert reached(host.container("other"), one, 80)


def test_uplink_that_is_a_bridge(host: Host, outside: Outside, daemon: Start) -> None:
    """Containers on the bridge that the host itself goes outward by are apart from other networks' containers, and
    nobody is kept from the machines behind it."""
    to, back = (
        (
            f"ip address flush dev {HOST_LINK}; ip address add {HOST_ADDRESS}/24 dev {{0}};"
            f"ip route replace default via {ADDRESS} dev {{0}}"
        ),
        f"ip -6 address add {HOST_ADDRESS6}/64 dev {HOST_LINK} nodad; ip -6 route replace default via {ADDRESS6}",
    )
    wires = (
        f"ip link add lan0 type bridge; ip link set lan0 up; ip link set {HOST_LINK} master lan0; {to.format('lan0')}"
    )
    undo = f"ip link delete lan0; {to.format(HOST_LINK)}; {back}"
    host.run("sh", "-ec", wires)
    try:
        network(host, "a", "10.77.1.0/24")
        ipam = {"type": "host-local", "ranges": [[{"subnet": "198.51.100.0/24", "rangeStart": "198.51.100.50"}]]}
        ipam["routes"] = [{"dst": "0.0.0.0/0", "gw": "198.51.100.1"}]
        conflist(host, "lan", [{"type": "bridge", "bridge": "lan0", "ipam": ipam}, {"type": "firewall"}])
        outside.serve_tcp(9100)
        running = daemon()
        one = serving(host, running, "one", "--label=dockercni.networks=a")
        lan = serving(host, running, "lan", "--label=dockercni.networks=lan")
        assert reached(host.container("one"), ADDRESS, 9100)
        assert reached(host.container("lan"), ADDRESS, 9100)
        assert reached(outside, lan, 80)
        assert not reached(host.container("one"), lan, 80)
        assert not reached(host.container("lan"), one, 80)
    finally:
        host.docker("rm", "--force", "lan", check=False)
        host.run("sh", "-ec", undo)


DUAL = {
    "type": "host-local",
    "ranges": [[{"subnet": "10.77.1.0/24"}], [{"subnet": "fd77:1::/64"}]],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
}
OTHER = {**DUAL, "ranges": [[{"subnet": "10.77.2.0/24"}], [{"subnet": "fd77:2::/64"}]]}


@pytest.mark.parametrize("event", ["container", "sync", "restart", "flush"])
def test_the_administrator_comes_first_over_ipv6(
    host: Host, outside: Outside, daemon: Start, cli: Cli, event: str
) -> None:
    """What DOCKER-USER of ip6tables drops is dropped, whoever made that chain; what comes behind it passes."""
    made = host.run("ip6tables", "-N", "DOCKER-USER", check=False).returncode == 0  # from Docker 27 on it is there
    drop = ("DOCKER-USER", "-m", "conntrack", "--ctorigdstport", "8080", "-p", "tcp", "-j", "DROP")
    host.run("ip6tables", "-I", *drop)
    network(host, "a", "10.77.1.0/24", ipam=DUAL)
    events = {
        "container": lambda: host.docker("restart", "--time=0", "web"),
        "sync": lambda: cli("sync", check=True),
        "restart": lambda: (running.stop(), daemon()),
        "flush": lambda: host.run("ip6tables", "-F", "FORWARD"),
    }
    try:
        running = daemon()
        run(host, "web", "--publish=8080:80", "--publish=8081:80", command=serve_tcp(80))
        running.wait_event("ADD", container="web")
        for happens in (lambda: None, events[event]):
            happens()
            # what somebody flushes is back within a second, and until then open
            wait_until(lambda: not reached(outside, outside.host_address6, 8080), 10, "the administrator's rule")
            assert ask(outside, "tcp", outside.host_address6, 8081)
            assert not reached(outside, outside.host_address6, 8080)
    finally:
        host.run("ip6tables", "-D", *drop)
        if made:
            host.run("sh", "-c", "ip6tables -D FORWARD -j DOCKER-USER; ip6tables -X DOCKER-USER", check=False)


@pytest.mark.parametrize("backend", ["auto", "exec"])
def test_networks_are_apart_in_ipv6(host: Host, outside: Outside, daemon: Start, backend: str) -> None:
    """Isolation holds for IPv6 as for IPv4: neither networks nor Docker's bridge reach unpublished ports."""
    network(host, "a", "10.77.1.0/24", ipam=DUAL)
    network(host, "b", "10.77.2.0/24", ipam=OTHER)
    running = daemon(f"--backend={backend}")
    serving(host, running, "one", "--label=dockercni.networks=a", "--publish=8081:80")
    serving(host, running, "two", "--label=dockercni.networks=a")
    serving(host, running, "other", "--label=dockercni.networks=b")
    where = {name: inner(host, name, family=6) for name in ("one", "two", "other")}
    for here in where:
        for there, target in where.items():
            if here != there:
                assert reached(host.container(here), target, 80) == ("other" not in {here, there}), (here, there)
        assert reached(host.container(here), outside.host_address6, 8081), here
