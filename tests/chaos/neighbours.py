"""Another runtime on the same host: it uses the same plugins, networks, stores and directories, and no Docker."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from tests.chaos import facts
from tests.chaos.checker import Neighbours
from tests.chaos.facts import CACHE, PINS
from tests.chaos.rules import LASTING, concerns
from tests.chaos.wanted import NETWORKS, Network

if TYPE_CHECKING:
    from tests.hosts import Host

# What cnitool calls a container, and what containerd and CRI-O do; each with the name of its pin.
STRANGERS = {
    "cnitool-77a383ca5d5e1b0c1f4a": "cnitool",
    "f" * 64: "cni-6e1a2f0a-53a8-4a24-9b9c-5a2a0c6f0d11",
    "0123456789abcdef" * 4: f"cni-{'0123456789abcdef' * 2}",
}
_BIN = "/usr/lib/cni"


def move_in(host: Host, *, rules: bool) -> Neighbours:
    """Attach each of STRANGERS to the first network before anybody else, with or without the plugins that make rules.

    What a flush of all rules takes away is not ours to put back, so where that happens they had better have none.
    """
    network = NETWORKS[0]
    leases, entries, links = {}, [], []
    for container_id, pin in STRANGERS.items():
        host.run("ip", "netns", "add", pin)
        result = _attach(host, network, container_id, f"{PINS}/{pin}", rules=rules)
        leases[f"{network.name}/{result['ips'][0]['address'].partition('/')[0]}"] = f"{container_id} eth0"
        links.append(result["interfaces"][1]["name"])
        name = f"{network.name}-{container_id}-eth0"
        entries.append(name)
        host.write(f"{CACHE}/results/{name}", _cached(network, container_id, f"{PINS}/{pin}", result))
    theirs = [rule for rule in facts.saved_rules(host) if concerns(rule, NETWORKS) and rule not in LASTING]
    pins = tuple(STRANGERS.values())
    return Neighbours(leases, tuple(entries), pins, tuple(links), tuple(theirs))


def _attach(host: Host, network: Network, container_id: str, netns: str, *, rules: bool) -> dict[str, Any]:
    result: dict[str, Any] = {}
    conflist = json.loads(network.conflist())
    for plugin in conflist["plugins"] if rules else conflist["plugins"][:1]:
        request = {**plugin, "name": network.name, "cniVersion": conflist["cniVersion"]}
        if not rules:
            request["ipMasq"] = False
        if result:
            request["prevResult"] = result
        env = {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": container_id,
            "CNI_NETNS": netns,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": _BIN,
        }
        result = json.loads(host.run(f"{_BIN}/{plugin['type']}", env=env, input=json.dumps(request)).stdout)
    return result


def _cached(network: Network, container_id: str, netns: str, result: object) -> str:
    """What libcni writes."""
    return json.dumps(
        {
            "kind": "cniCacheV1",
            "containerId": container_id,
            "config": base64.b64encode(network.conflist().encode()).decode(),
            "ifName": "eth0",
            "networkName": network.name,
            "netns": netns,
            "result": result,
        }
    )
