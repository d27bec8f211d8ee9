"""The checker of the chaos tests: that it is silent when all is well, and complains of everything that is not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.chaos.checker import Neighbours, complaints
from tests.chaos.wanted import Wanted, configure
from tests.hosts import IMAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hosts import Host, Outside

WANTED = {"one": Wanted(("alpha",), (8081, 8082)), "two": Wanted(("beta", "alpha"), (8083,)), "idle": Wanted(())}

# What is done to the host, how it is undone, and what the complaint looks like. ID is the id of container "one", IP its
# address, VETH the host's end of its link, CHAIN its masquerade chain.
DAMAGE = {
    "a lease too much": (
        "printf 'x\\r\\neth0' > /var/lib/cni/networks/alpha/10.61.0.77",
        "rm /var/lib/cni/networks/alpha/10.61.0.77",
        "lease: alpha/10.61.0.77 x eth0 too much",
    ),
    "a lease of nobody": (
        "mkdir /var/lib/cni/networks/gamma; : > /var/lib/cni/networks/gamma/10.63.0.9",
        "rm -r /var/lib/cni/networks/gamma",
        "lease: gamma/10.63.0.9 .*too much",
    ),
    "a lease missing": (
        "mv /var/lib/cni/networks/alpha/IP /run/private/kept",
        "mv /run/private/kept /var/lib/cni/networks/alpha/IP",
        "lease: alpha/IP ID eth0 missing",
    ),
    "a lease of another": (
        "cp /var/lib/cni/networks/alpha/IP /run/private/kept; printf x > /var/lib/cni/networks/alpha/IP",
        "mv /run/private/kept /var/lib/cni/networks/alpha/IP",
        "lease: alpha/IP ID eth0 missing",
    ),
    "a link too much": (
        "ip link add veth77 type veth peer name veth78",
        "ip link delete veth77",
        "link: veth77 too much",
    ),
    "a link off its bridge": (
        "ip link set VETH nomaster",
        "ip link set VETH master cni-alpha",
        "link: VETH of one is on None, not cni-alpha",
    ),
    "a link down": ("ip link set VETH down", "ip link set VETH up", "traffic: one eth0 to its gateway: .*"),
    "a bridge's address missing": (
        "ip address delete 10.61.0.1/24 dev cni-alpha",
        "ip address add 10.61.0.1/24 dev cni-alpha",
        "traffic: one eth0 to its gateway: .*",
    ),
    "a nat rule too much": (
        "iptables -t nat -A PREROUTING -p tcp --dport 9999 -j DNAT --to-destination 10.61.0.99:80",
        "iptables -t nat -D PREROUTING -p tcp --dport 9999 -j DNAT --to-destination 10.61.0.99:80",
        "rule: iptables nat -A PREROUTING .*10.61.0.99:80 too much",
    ),
    "a chain too much": ("iptables -t nat -N CNI-DN-77", "iptables -t nat -X CNI-DN-77", "rule: .*:CNI-DN-77 too much"),
    "a nat rule twice": (
        "iptables -t nat -A CHAIN -d 10.61.0.0/24 -j ACCEPT",
        "iptables -t nat -D CHAIN -d 10.61.0.0/24 -j ACCEPT",
        "rule: iptables nat -A CHAIN -d 10.61.0.0/24 -j ACCEPT too much",
    ),
    "a nat rule missing": (
        "iptables-save -t nat > /run/private/nat; iptables -t nat -F CHAIN",
        "iptables-restore -T nat < /run/private/nat",
        "rule: iptables nat -A CHAIN .* -j MASQUERADE missing",
    ),
    "a filter rule too much": (
        "iptables -A CNI-FORWARD -s 10.61.0.99/32 -j ACCEPT",
        "iptables -D CNI-FORWARD -s 10.61.0.99/32 -j ACCEPT",
        "rule: iptables filter -A CNI-FORWARD -s 10.61.0.99/32 -j ACCEPT too much",
    ),
    "a filter rule missing": (
        "iptables -D CNI-FORWARD -s IP/32 -j ACCEPT",
        "iptables -A CNI-FORWARD -s IP/32 -j ACCEPT",
        "rule: iptables filter -A CNI-FORWARD -s IP/32 -j ACCEPT missing",
    ),
    "an accept of DOCKER-USER too much": (
        "iptables -I DOCKER-USER -i cni-gamma -j ACCEPT",
        "iptables -D DOCKER-USER -i cni-gamma -j ACCEPT",
        "rule: iptables filter -A DOCKER-USER -i cni-gamma -j ACCEPT too much",
    ),
    "an accept missing": (
        "iptables-save -t filter > /run/private/filter; iptables -D DOCKERCNI-FORWARD 2",
        "iptables-restore -T filter < /run/private/filter",
        "rule: iptables filter -A DOCKERCNI-FORWARD .* -j ACCEPT missing",
    ),
    "a table of nftables": (
        "nft add table ip strange",
        "nft delete table ip strange",
        "rule: table ip strange too much",
    ),
    "a pin too much": (
        "ip netns add dockercni-77",
        "ip netns delete dockercni-77",
        "pin: dockercni-77 too much",
    ),
    "what is left of a pin": (
        ": > /run/netns/dockercni-78",
        "rm /run/netns/dockercni-78",
        "pin: dockercni-78 too much",
    ),
    "a pin unmounted": (
        "umount /run/netns/dockercni-ID",
        "touch /run/netns/dockercni-ID; mount --bind /proc/PID/ns/net /run/netns/dockercni-ID",
        "mount: /run/netns/dockercni-ID missing",
    ),
    "a pin mounted twice": (
        "mount --bind /proc/PID/ns/net /run/netns/dockercni-ID",
        "umount /run/netns/dockercni-ID",
        r"mount: /run/netns/dockercni-ID too much \(2 times\)",
    ),
    "a pin of the wrong namespace": (
        "mount --bind /proc/self/ns/net /run/netns/dockercni-ID",
        "umount /run/netns/dockercni-ID",
        "pin: dockercni-ID is not the namespace of one",
    ),
    "a mount elsewhere": (
        ": > /run/private/ns; mount --bind /proc/PID/ns/net /run/private/ns",
        "umount /run/private/ns; rm /run/private/ns",
        "mount: /run/private/ns too much",
    ),
    "a cache entry too much": (
        "echo '{}' > /var/lib/cni/results/alpha-77-eth0",
        "rm /var/lib/cni/results/alpha-77-eth0",
        "cache entry: alpha-77-eth0 too much",
    ),
    "what is left of a writer": (
        ": > /var/lib/cni/.cache-entry-77",
        "rm /var/lib/cni/.cache-entry-77",
        "cache entry: .cache-entry-77 too much",
    ),
    "a cache entry missing": (
        "mv /var/lib/cni/results/alpha-ID-eth0 /run/private/kept",
        "mv /run/private/kept /var/lib/cni/results/alpha-ID-eth0",
        "cache entry: alpha-ID-eth0 missing",
    ),
    "a cache entry cut short": (
        "cd /var/lib/cni/results; cp alpha-ID-eth0 /run/private/kept; truncate --size=99 alpha-ID-eth0",
        "mv /run/private/kept /var/lib/cni/results/alpha-ID-eth0",
        "cache entry: alpha-ID-eth0 records .*",
    ),
    "an interface too much": (
        "nsenter --target=PID --net ip link add eth7 type bridge",
        "nsenter --target=PID --net ip link delete eth7",
        "interface of one: eth7 too much",
    ),
    "an interface down": (
        "nsenter --target=PID --net sh -c 'ip route show default > /run/private/route; ip link set eth0 down'",
        "nsenter --target=PID --net sh -c 'ip link set eth0 up; ip route add $(cat /run/private/route)'",
        "address: one eth0 is down",
    ),
    "a second address": (
        "nsenter --target=PID --net ip address add 10.61.0.78/24 dev eth0",
        "nsenter --target=PID --net ip address delete 10.61.0.78/24 dev eth0",
        "address: one eth0 on alpha has .*",
    ),
    "no default route": (
        "nsenter --target=PID --net ip route delete default",
        "nsenter --target=PID --net ip route add default via 10.61.0.1",
        "traffic: one to the outside: .*",
    ),
}


@pytest.mark.timeout(180)
def test_complains(host: Host, outside: Outside, cli: Callable[..., object]) -> None:
    """Whatever is missing, too much or does not work makes the checker complain, until it is repaired."""
    names = _attached(host, cli)
    assert complaints(host, outside, WANTED) == []
    silent = []
    for what, (damage, repair, expected) in DAMAGE.items():
        host.run("/bin/sh", "-ec", _filled(damage, names))
        found = complaints(host, outside, WANTED)
        if not any(re.fullmatch(_filled(expected, names), line) for line in found):
            silent.append((what, found))
        host.run("/bin/sh", "-ec", _filled(repair, names))
    assert silent == []
    assert complaints(host, outside, WANTED) == []


def test_complains_of_elements(host: Host, outside: Outside, cli: Callable[..., object]) -> None:
    """What the in-process plugins keep in nftables is looked at as the rules of executables are."""
    configure(host)
    WANTED["one"].run(host, "one")
    cli("sync", "--backend=builtin", check=True)
    wanted = {"one": WANTED["one"]}
    assert complaints(host, outside, wanted) == []
    for damage, expected in (
        ("add element inet dockercni ports4 { tcp . 99 : 10.61.0.9 . 80 }", r"ports4 tcp \. 99 -> .* too much"),
        ("delete element inet dockercni ports4 { tcp . 8081 }", r"ports4 tcp \. 8081 -> .* missing"),
        ("flush set inet dockercni leaving-10.61.0.0/24", "leaving-10.61.0.0/24 .* missing"),
        ("delete table inet dockercni", "returning-10.61.0.0/24 .* missing"),
    ):
        host.run("nft", *damage.split())
        found = complaints(host, outside, wanted)
        assert any(re.match(f"rule: table inet dockercni {expected}", line) for line in found), (damage, found)


def test_complains_of_containers(host: Host, outside: Outside, cli: Callable[..., object]) -> None:
    """A container without its network, on the wrong one, and a port that leads to nobody make the checker complain."""
    _attached(host, cli)
    found = complaints(host, outside, {**WANTED, "idle": Wanted(("gamma",)), "one": Wanted(("beta",), (8089,))})
    for expected in (
        "interface of idle: eth0 missing",
        r"address: one eth0 on beta has \['10.61.0.\d+'\]",
        "traffic: the outside to one by port 8089: .*",
    ):
        assert any(re.fullmatch(expected, line) for line in found), found


def test_neighbours_must_stay(host: Host, outside: Outside, cli: Callable[..., object]) -> None:
    """What another runtime has is no complaint while it is there, and one when it is gone."""
    _attached(host, cli)
    plant = (
        "printf 'y\\r\\neth0' > /var/lib/cni/networks/alpha/10.61.0.99; ip netns add cni-y; ip link add y0 type bridge"
    )
    host.run("/bin/sh", "-ec", f"{plant}; echo '{{}}' > /var/lib/cni/results/alpha-y-eth0")
    neighbours = Neighbours({"alpha/10.61.0.99": "y eth0"}, ("alpha-y-eth0",), ("cni-y",), ("y0",))
    assert complaints(host, outside, WANTED, neighbours=neighbours) == []
    host.run(
        "/bin/sh", "-ec", "rm /var/lib/cni/*/alpha*/10.61.0.99 /var/lib/cni/results/alpha-y-eth0; ip netns delete cni-y"
    )
    host.run("ip", "link", "delete", "y0")
    kinds = [line.split(":")[0] for line in complaints(host, outside, WANTED, neighbours=neighbours)]
    assert kinds == ["lease", "cache entry", "pin", "mount", "link"]


def _attached(host: Host, cli: Callable[..., object]) -> dict[str, str]:
    configure(host)
    for name, want in WANTED.items():
        if want.networks:
            want.run(host, name)
    host.docker("run", "--detach", "--name=idle", "--network=none", "--label=dockercni.enable=false", IMAGE)
    for _ in range(2):  # executables that start at once on a new host may trip over each other's chains
        cli("sync", "--backend=exec")
    container, pid = host.docker("inspect", "--format={{.Id}} {{.State.Pid}}", "one").split()
    (address,) = (
        path.name for path in host.path("/var/lib/cni/networks/alpha").glob("10.*") if container in path.read_text()
    )
    chain = re.search(rf"-s {address}/32 .*-j (CNI-\S+)", host.run("iptables-save", "-t", "nat").stdout)
    assert chain
    veth = re.search(r"eth0@if(\d+)", host.run("nsenter", f"--target={pid}", "--net", "ip", "-o", "link").stdout)
    assert veth
    link = re.search(rf"^{veth[1]}: (\w+)@", host.run("ip", "-o", "link").stdout, re.MULTILINE)
    assert link
    return {"PID": pid, "ID": container, "IP": address, "VETH": link[1], "CHAIN": chain[1]}


def _filled(text: str, names: dict[str, str]) -> str:
    return re.sub(r"\b(PID|ID|IP|VETH|CHAIN)\b", lambda found: names[found[0]], text)
