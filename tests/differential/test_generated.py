"""Configurations that nobody thought of: valid keys, and values that are right or nearly so.

The same few in every run. `GENERATED=200 pytest tests/differential/test_generated.py` tries 200 others of each.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.differential.reach import Reach
from tests.differential.test_bridge import settle
from tests.differential.test_reach import PORTMAP, network, targets
from tests.differential.twin import Twin
from tests.hosts.outside import ADDRESS, HOST_ADDRESS, HOST_ADDRESS6

WANTED = int(os.environ.get("GENERATED", "0"))
pytestmark = pytest.mark.timeout(120 + 20 * WANTED)


def several(examples: int) -> Callable[[Any], Any]:
    """Settings for tests of which each example takes a second: failures are shown as they are found."""
    return settings(
        max_examples=WANTED or examples,
        derandomize=not WANTED,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )


def verify(twin: Twin) -> None:
    """Fail for what differed so far."""
    found, twin.problems = twin.problems, []
    assert not found, "\n".join(found)


SWITCH = st.sampled_from([True, True, False, None])
MACS = st.sampled_from(["02:11:22:33:44:55", "0211.2233.4466", ""])
RANGES = st.sampled_from([
    [[{"subnet": "10.1.0.0/24"}]],
    [[{"subnet": "10.1.0.0/30", "gateway": "10.1.0.2"}]],
    [[{"subnet": "fd00:1::/64"}]],
    [[{"subnet": "10.1.0.0/16", "rangeStart": "10.1.7.0"}], [{"subnet": "fd00:1::/64", "gateway": "fd00:1::9"}]],
    [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/24"}]],
    [],
])  # fmt: skip
ROUTES = st.lists(
    st.sampled_from(
        [
            {"dst": "0.0.0.0/0", "gw": "10.1.0.1"},
            {"dst": "::/0"},
            {"dst": "10.9.0.0/16"},
            {"dst": "fd00:9::/64", "gw": "fd00:1::9"},
        ]
    ),
    max_size=2,
    unique_by=lambda route: route["dst"],
)
IPAM = st.none() | st.fixed_dictionaries({"type": st.just("host-local"), "ranges": RANGES, "routes": ROUTES})
BRIDGE = st.fixed_dictionaries(
    {"ipam": IPAM},
    optional={
        "isGateway": SWITCH,
        "isDefaultGateway": SWITCH,
        "forceAddress": SWITCH,
        "hairpinMode": SWITCH,
        "promiscMode": SWITCH,
        "ipMasq": SWITCH,
        "macspoofchk": st.booleans(),
        "mtu": st.sampled_from([0, 1300, 1400]),
        "vlan": st.sampled_from([0, None]),
        "dns": st.sampled_from([{}, {"nameservers": ["10.1.0.53"]}, {"domain": "a", "search": ["b"], "options": []}]),
        "args": st.fixed_dictionaries({"cni": st.fixed_dictionaries({"mac": MACS})}),
        "runtimeConfig": st.fixed_dictionaries({"mac": MACS}),
    },
)
# of two mistakes each engine may find another one first
MISTAKES: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        *[{}] * 8,
        {"isGateway": "yes"},
        {"ipMasq": 1},
        {"mtu": "1500"},
        {"mtu": 10},
        {"mtu": -1},
        {"mtu": 70000},
        {"vlan": -1},
        {"vlan": 4095},
        {"ipam": {"type": "host-local"}},
        {"ipam": {"type": "nonsense"}},
        {
            "ipam": {
                "type": "host-local",
                "subnet": "10.1.0.0/24",
                "routes": [{"dst": "10.9.0.0/16", "gw": "10.77.0.1"}],
            }
        },
        {"runtimeConfig": {"mac": "02:11:22:33:44"}},
        {"runtimeConfig": {"mac": "01:00:00:00:00:01"}},
        {"bridge": "a-name-that-is-too-long"},
    ]
)
VERSIONS = st.sampled_from(["1.0.0", "1.0.0", "0.4.0", "0.3.1", "0.2.0"])


def test_bridge() -> None:
    """Any bridge network: result or error, host, container and leases after ADD; CHECK; and all that after DEL."""
    numbers = count()
    words = ("bridge-types", "bridge-refused", "later-words", "unknown-ipam", "route-words")
    rows = (*words, "layer-2-check", "route-check", "masquerade-never-made")
    with Twin(possible=rows) as twin:

        @several(14)
        @given(VERSIONS, BRIDGE, MISTAKES)
        def compare(version: str, more: dict[str, Any], mistake: dict[str, Any]) -> None:
            name = f"c{next(numbers)}"
            base = {"cniVersion": version, "name": name, "type": "bridge", "bridge": f"br-{name}"}
            conf = base | more | mistake
            twin.container(name)
            results = twin.chain("ADD", conf, (None, None), container=name)
            settle(twin)
            twin.compare_network(name)
            twin.compare_leases()
            if version >= "0.4.0" and results[0]:
                twin.chain("CHECK", conf, results, container=name)
            twin.chain("DEL", conf, results, container=name)
            settle(twin)
            twin.compare_network(name)
            twin.compare_leases()
            twin.both("sh", "-c", f"ip netns delete {name}; ip link delete br-{name} 2>/dev/null || :")
            verify(twin)

        compare()


PORT = st.fixed_dictionaries(
    {
        "hostPort": st.sampled_from([8080, 8080, 8080, 8053, 8081, 0, -1]),
        "containerPort": st.sampled_from([80, 80, 80, 53, 81, 0]),
        "protocol": st.sampled_from(["tcp", "tcp", "udp", "udp", "TCP"]),
    },
    optional={"hostIP": st.sampled_from([HOST_ADDRESS, HOST_ADDRESS6, "0.0.0.0", "::", "127.0.0.1", ""])},
)
ASKED = targets(("tcp", 8080), ("tcp", 8081), ("udp", 8053))


def test_portmap() -> None:
    """Any published ports: result or error, and who reaches them under which address; nobody does after DEL."""
    with Twin() as twin, Reach(twin) as reach:
        reach.containers("c1", "c2")
        reach.serve("c1", tcp=80, udp=53)
        twin.step("ADD", network(hairpinMode=True), container="c2")

        @several(5)
        @given(st.lists(PORT, max_size=3), st.sampled_from([{}, {}, {"snat": True}, {"snat": False}, {"snat": None}]))
        def compare(ports: list[dict[str, Any]], more: dict[str, Any]) -> None:
            conf = network(PORTMAP | more, hairpinMode=True)
            given_ports = {"portMappings": ports}
            twin.step("ADD", conf, capability_args=given_ports)
            reach.compare({name: ASKED[name] for name in ("outside", "host", "c2")})
            twin.step("DEL", conf, capability_args=given_ports)
            reach.compare({"host": ASKED["host"]})
            verify(twin)

        compare()


POLICY = st.sampled_from([{}, *({"ingressPolicy": each} for each in ("", "open", "same-bridge", "nonsense"))])
SECOND: dict[str, Any] = {"name": "second", "bridge": "cni1", "ranges": (({"subnet": "10.2.0.0/24"},),)}


def test_firewall() -> None:
    """Any two policies, and FORWARD open or closed: result or error, and who reaches whom."""
    with Twin() as twin, Reach(twin) as reach:
        reach.containers("c1", "c2", "c3")
        for name in ("outside", "c2", "c3"):
            reach.serve(name, tcp=7000)

        @several(6)
        @given(POLICY, POLICY, st.sampled_from(["ACCEPT", "DROP"]))
        def compare(one: dict[str, Any], other: dict[str, Any], forward: str) -> None:
            first = network({"type": "firewall", **one}, ranges=(({"subnet": "10.1.0.0/24"},),))
            second = network({"type": "firewall", **other}, **SECOND)
            attached = (("c1", first), ("c2", first), ("c3", second))
            twin.both("iptables", "-P", "FORWARD", forward)
            for name, conf in attached:
                twin.step("ADD", conf, container=name)
            reach.compare({"c1": [("tcp", host, 7000) for host in (ADDRESS, "10.1.0.3", "10.2.0.2")]})
            for name, conf in attached:
                twin.step("DEL", conf, container=name)
            twin.both("sh", "-c", "ip link delete cni0; ip link delete cni1; iptables -F; nft flush ruleset; :")
            twin.both("sh", "-c", "rm -rf /var/lib/cni/networks /var/lib/cni/results")
            verify(twin)

        compare()
