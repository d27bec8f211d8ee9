"""What packets do: who reaches what through bridge, portmap and firewall, and which address is seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.differential.reach import Reach, Target
from tests.differential.twin import Twin
from tests.hosts.outside import ADDRESS, ADDRESS6, HOST_ADDRESS, HOST_ADDRESS6

V4, V6, SECOND_V4 = {"subnet": "10.1.0.0/24"}, {"subnet": "fd00:1::/64"}, {"subnet": "10.2.0.0/24"}
ROUTES = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
GATEWAY = "10.1.0.1"
TCP = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
UDP = {"hostPort": 8053, "containerPort": 53, "protocol": "udp"}
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}


def network(*plugins: dict[str, Any], name: str = "net", ranges: Any = ((V4,), (V6,)), **bridge: Any) -> dict[str, Any]:
    """A list: a bridge with masquerade and two families, then `plugins`."""
    sets = [list(each) for each in ranges]
    routes = ROUTES[: len(sets)]
    main = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "ipam": {"type": "host-local", "ranges": sets, "routes": routes},
        **bridge,
    }
    return {"cniVersion": "1.0.0", "name": name, "plugins": [main, *plugins]}


def targets(*ports: tuple[str, int]) -> dict[str, list[Target]]:
    """Who asks what for published ports: by every address of the host, from everywhere."""
    outer = [(protocol, host, port) for protocol, port in ports for host in (HOST_ADDRESS, HOST_ADDRESS6)]
    inner = [(protocol, GATEWAY, port) for protocol, port in ports]
    local = [(protocol, "127.0.0.1", port) for protocol, port in ports]
    return {"outside": outer, "host": outer + inner + local, "c1": outer + inner, "c2": outer + inner}


BOTH = targets(("tcp", 8080), ("udp", 8053))
PORTS: dict[str, tuple[dict[str, Any], list[dict[str, Any]], dict[str, list[Target]]]] = {
    "both": (PORTMAP, [TCP, UDP], BOTH),
    "without-snat": (PORTMAP | {"snat": False}, [TCP, UDP], BOTH),
    "snat": (PORTMAP | {"snat": True}, [TCP], targets(("tcp", 8080))),
    "of-one-address": (PORTMAP, [TCP | {"hostIP": HOST_ADDRESS}], targets(("tcp", 8080))),
    "of-one-address-6": (PORTMAP, [TCP | {"hostIP": HOST_ADDRESS6}], targets(("tcp", 8080))),
    "of-any-address": (PORTMAP, [TCP | {"hostIP": "0.0.0.0"}, UDP | {"hostIP": "::"}], BOTH),
    "of-localhost": (PORTMAP, [TCP | {"hostIP": "127.0.0.1"}], targets(("tcp", 8080))),
    "other-host-port": (PORTMAP, [TCP | {"hostPort": 8081}], targets(("tcp", 8080), ("tcp", 8081))),
    "other-container-port": (PORTMAP, [TCP | {"containerPort": 81}], targets(("tcp", 8080))),
    "two-to-one": (PORTMAP, [TCP, TCP | {"hostPort": 8081}], targets(("tcp", 8080), ("tcp", 8081))),
}


@pytest.mark.parametrize("case", PORTS)
def test_published(case: str) -> None:
    """Published ports answer the same places with the same addresses seen, and nobody after DEL."""
    plugin, ports, asked = PORTS[case]
    given = network(plugin, hairpinMode=True)
    with Twin() as twin, Reach(twin) as reach:
        reach.containers("c1", "c2")
        reach.serve("c1", tcp=80, udp=53)
        twin.step("ADD", given, capability_args={"portMappings": ports})
        twin.step("ADD", given, container="c2")
        reach.compare(asked)
        twin.step("DEL", given, capability_args={"portMappings": ports})
        reach.compare({"outside": asked["outside"], "host": asked["host"]})


OUTGOING: dict[str, dict[str, Any]] = {
    "masquerade": {},
    "no-masquerade": {"ipMasq": False},
}


@pytest.mark.parametrize("case", OUTGOING)
def test_outgoing(case: str) -> None:
    """What leaves is seen under the host's address if the network masquerades, and gets no answer otherwise."""
    given = network(**OUTGOING[case])
    with Twin() as twin, Reach(twin) as reach:
        reach.containers("c1", "c2")
        for place in ("outside", "c2"):
            reach.serve(place, tcp=7000, udp=7000)
        for name in ("c1", "c2"):
            twin.step("ADD", given, container=name)
        hosts = (ADDRESS, ADDRESS6, "10.1.0.3", "fd00:1::3")
        reach.compare({"c1": [(protocol, host, 7000) for protocol in ("tcp", "udp") for host in hosts]})


POLICIES: dict[str, Sequence[dict[str, Any]]] = {
    "none": (),
    "unsaid": ({"type": "firewall"},),
    "empty": ({"type": "firewall", "ingressPolicy": ""},),
    "open": ({"type": "firewall", "ingressPolicy": "open"},),
    "same-bridge": ({"type": "firewall", "ingressPolicy": "same-bridge"},),
}


@pytest.mark.parametrize("case", POLICIES)
def test_between_networks(case: str) -> None:
    """Networks reach each other, masqueraded, unless they say that they are to be kept apart."""
    first = network(*POLICIES[case], ranges=((V4,),))
    second = network(*POLICIES[case], ranges=((SECOND_V4,),), name="second", bridge="cni1")
    with Twin() as twin, Reach(twin) as reach:
        reach.containers("c1", "c2", "c3")
        for name in ("c2", "c3"):
            reach.serve(name, tcp=7000)
        for name, given in (("c1", first), ("c2", first), ("c3", second)):
            twin.step("ADD", given, container=name)
        reach.compare({"c1": [("tcp", "10.1.0.3", 7000), ("tcp", "10.2.0.2", 7000)]})
        twin.step("DEL", first)
