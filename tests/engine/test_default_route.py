"""Which network has a container's default route, and that nobody takes it away."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.engine.containers import conflist, network, run, settings
from tests.hosts import wait_until

if TYPE_CHECKING:
    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host, Place

DUAL = {
    "type": "host-local",
    "ranges": [[{"subnet": "10.77.2.0/24"}], [{"subnet": "fd00:77:2::/64"}]],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
}


def defaults(place: Place, version: int) -> list[str]:
    """The default routes of one IP version: gateway and interface of each."""
    found = json.loads(place.run("ip", "-json", f"-{version}", "route", "show", "default").stdout or "[]")
    hops = [hop for route in found for hop in route.get("nexthops", [route])]
    return [f"{hop.get('gateway', 'link')} {hop['dev']}" for hop in hops]


@pytest.mark.parametrize("backend", ["builtin", "exec"])
def test_the_first_network_has_it(host: Host, daemon: Start, cli: Cli, backend: str) -> None:
    """Of several networks the first one that has a default route gets it, for each IP version; all say converged."""
    network(host, "flat", "10.77.3.0/24", ipam={"type": "host-local", "subnet": "10.77.3.0/24"})
    # with a default route in its IPAM as well the reference bridge fails
    network(host, "a", "10.77.1.0/24", isDefaultGateway=True, ipam={"type": "host-local", "subnet": "10.77.1.0/24"})
    network(host, "b", "10.77.2.0/24", ipam=DUAL)
    network(host, "c", "10.77.4.0/24")
    running = daemon(f"--backend={backend}")
    run(host, "web", "--label=dockercni.networks=flat,a,b,c")
    running.wait_event("ADD", container="web", network="c")
    web = host.container("web")
    assert defaults(web, 4) == ["10.77.1.1 eth1"]
    wait_until(lambda: defaults(web, 6) == ["fd00:77:2::1 eth2"], 10, "IPv6", lambda: defaults(web, 6))
    assert cli("sync").stdout == "converged: 1 container, 4 attachments, 0 repaired\n"
    assert cli("check").returncode == 0
    assert cli("status").returncode == 0


def test_a_label_chooses(host: Host, daemon: Start, cli: Cli) -> None:
    """`dockercni.gateway` names the network that has it; interfaces keep their names; a restart changes nothing."""
    network(host, "a", "10.77.1.0/24")
    network(host, "b", "10.77.2.0/24")
    running = daemon()
    run(host, "web", "--label=dockercni.networks=a,b", "--label=dockercni.gateway=b")
    running.wait_event("ADD", container="web", network="a", ifname="eth0")
    assert defaults(host.container("web"), 4) == ["10.77.2.1 eth1"]
    assert "default route" in cli("explain", "web").stdout
    seen = len(running.log())
    host.docker("restart", "--time=0", "web")
    running.wait_event("ADD", container="web", network="a", ifname="eth0", after=seen)
    assert defaults(host.container("web"), 4) == ["10.77.2.1 eth1"]


@pytest.mark.parametrize(("label", "words"), [("c", "not on that network"), ("flat", "no default route to give")])
def test_a_label_that_cannot_be(host: Host, daemon: Start, cli: Cli, label: str, words: str) -> None:
    """A network that the container is not on, or that has no gateway, is an error that names the label."""
    network(host, "a", "10.77.1.0/24")
    network(host, "flat", "10.77.3.0/24", ipam={"type": "host-local", "subnet": "10.77.3.0/24"})
    running = daemon()
    run(host, "web", "--label=dockercni.networks=a,flat", f"--label=dockercni.gateway={label}")
    reason = running.wait_event("not attached", container="web")["reason"]
    assert f"dockercni.gateway={label}" in reason
    assert words in reason
    assert cli("sync").returncode == 4


def test_a_network_that_comes_late_has_it_all_the_same(host: Host, daemon: Start) -> None:
    """While the first network cannot be attached the second one does not take its place."""
    network(host, "a", "10.77.1.0/24")
    host.run("ip", "link", "add", "cni-a", "type", "veth", "peer", "name", "cni-b")  # a bridge cannot be made
    network(host, "b", "10.77.2.0/24", bridge="cni-c")
    running = daemon()
    run(host, "web", "--label=dockercni.networks=a,b")
    running.wait_event("ADD", container="web", network="b")
    running.wait_event("ADD failed", container="web", network="a")
    assert defaults(host.container("web"), 4) == []
    host.run("ip", "link", "delete", "cni-a")
    running.wait_event("ADD", container="web", network="a", timeout=60)
    assert defaults(host.container("web"), 4) == ["10.77.1.1 eth0"]


WRAPPER = """#!/bin/sh
# A plugin that nobody knows: its default routes do not stand in its configuration.
in=$(sed 's/"odd"/"bridge"/')
printf %s "$in" | /usr/lib/cni/bridge || exit 1
[ "$CNI_COMMAND" = ADD ] || exit 0
nsenter --net="$CNI_NETNS" ip route replace default via 10.77.2.1 dev "$CNI_IFNAME"
nsenter --net="$CNI_NETNS" ip -6 route append default via fd00:77:2::1 dev "$CNI_IFNAME"
"""


@pytest.mark.parametrize("kind", ["builtin", "exec", "odd"])
def test_add_never_moves_it(host: Host, cli: Cli, kind: str) -> None:
    """`dockercni add` leaves a namespace the default routes that it has, whatever plugin is asked; check agrees, and
    del leaves them, too."""
    host.write("/run/private/bin/odd", WRAPPER)
    host.path("/run/private/bin/odd").chmod(0o755)
    settings(host, cni_bin_dir="/run/private/bin:/opt/cni/bin:/usr/lib/cni:/usr/libexec/cni")
    first: dict[str, Any] = {**DUAL, "ranges": [[{"subnet": "10.77.1.0/24"}], [{"subnet": "fd00:77:1::/64"}]]}
    network(host, "a", "", ipam=first)
    main = {"type": "odd" if kind == "odd" else "bridge", "bridge": "cni-b", "isGateway": True, "ipam": DUAL}
    conflist(host, "b", [{**main, "isDefaultGateway": True}])
    flags = ["--backend=auto" if kind == "odd" else f"--backend={kind}"]
    host.run("ip", "netns", "add", "mine")
    try:
        cli("add", "mine", "/run/netns/mine", "--network=a", *flags, check=True)
        before = routes(host, "mine")
        assert before == [["10.77.1.1 eth0"], ["fd00:77:1::1 eth0"]]
        cli("add", "mine", "/run/netns/mine", "--network=b", *flags, check=True)
        assert routes(host, "mine") == before
        assert cli("check", *flags).returncode == 0
        cli("del", "mine", "--network=b", check=True)
        assert routes(host, "mine") == before
    finally:
        cli("del", "mine")
        host.run("ip", "netns", "delete", "mine")


def routes(host: Host, name: str) -> list[list[str]]:
    """The default routes of a namespace by its name, for IPv4 and IPv6."""
    found = []
    for version in (4, 6):
        shown = host.run("ip", "-netns", name, "-json", f"-{version}", "route", "show", "default").stdout
        hops = [hop for route in json.loads(shown or "[]") for hop in route.get("nexthops", [route])]
        found.append([f"{hop.get('gateway', 'link')} {hop['dev']}" for hop in hops])
    return found
