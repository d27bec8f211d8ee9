"""portmap and firewall against the reference executables: results and errors; what packets do is in tests/netns."""

from __future__ import annotations

from typing import Any

import pytest

from tests.differential.twin import Twin

PREVIOUS: dict[str, Any] = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "cni0"}, {"name": "veth1"}, {"name": "eth0", "sandbox": "/run/netns/c1"}],
    "ips": [{"address": "10.1.0.2/24", "gateway": "10.1.0.1", "interface": 2}],
    "routes": [{"dst": "0.0.0.0/0"}],
    "dns": {"nameservers": ["10.1.0.1"]},
}
TCP = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
UDP = {"hostPort": 53, "containerPort": 53, "protocol": "udp"}


def previous(version: str) -> dict[str, Any]:
    """What the bridge gave, in any version that has interfaces."""
    family = {} if version == "1.0.0" else {"version": "4"}
    return {**PREVIOUS, "cniVersion": version, "ips": [{**family, **PREVIOUS["ips"][0]}]}


def portmap(version: str = "1.0.0", mappings: Any = (TCP,), **more: Any) -> dict[str, Any]:
    """A portmap plugin behind a bridge."""
    base = {"cniVersion": version, "name": "net", "type": "portmap", "prevResult": previous(version)}
    return {**base, "runtimeConfig": {"portMappings": list(mappings)}, **more}


def firewall(version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    """A firewall plugin behind a bridge."""
    return {"cniVersion": version, "name": "net", "type": "firewall", "prevResult": previous(version), **more}


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0", "1.0.0"])
def test_portmap_versions(version: str) -> None:
    """The result is prevResult, in every version that has interfaces."""
    with Twin() as twin:
        twin.container()
        twin.step("ADD", portmap(version, [TCP, UDP]))
        twin.step("DEL", portmap(version, [TCP, UDP]))
        twin.step("DEL", portmap(version, [TCP, UDP]))


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.1", "0.4.0", "1.0.0"])
def test_firewall_versions(version: str) -> None:
    """The result is prevResult, from 0.4.0 on."""
    with Twin(*(["newer-versions"] if version < "0.4.0" else [])) as twin:
        twin.container()
        twin.step("ADD", firewall(version))
        twin.step("DEL", firewall(version))


FAILING: dict[str, dict[str, Any]] = {
    "no-prevResult": {"prevResult": None},
    "host-port-zero": {"mappings": [{**TCP, "hostPort": 0}]},
    "container-port-zero": {"mappings": [{**TCP, "containerPort": 0}]},
    "negative-port": {"mappings": [{**TCP, "hostPort": -1}]},
    "nothing-to-do": {"mappings": []},
    "other-family": {"mappings": [{**TCP, "hostIP": "fd00::1"}]},
    "snat-off": {"snat": False},
}


@pytest.mark.parametrize("case", FAILING)
def test_portmap_errors(case: str) -> None:
    """What the executable refuses is refused in the same words, and what it does nothing about passes."""
    with Twin() as twin:
        twin.container()
        twin.step("ADD", portmap(**FAILING[case]))
        twin.step("DEL", portmap(**FAILING[case]))
        twin.compare_network("c1")


def test_firewall_errors() -> None:
    """Without prevResult ADD fails, and DEL does not; an unknown policy is refused."""
    with Twin() as twin:
        twin.container()
        for given in (firewall(prevResult=None), firewall(ingressPolicy="nonsense")):
            twin.step("ADD", given)
            twin.step("DEL", given)


def test_firewall_policy_without_interfaces() -> None:
    """A policy needs to know the bridge."""
    with Twin() as twin:
        twin.container()
        alone = {"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.2/24"}]}
        twin.step("ADD", firewall(ingressPolicy="same-bridge", prevResult=alone))
