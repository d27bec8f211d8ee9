"""Keys that the reference executables of most distributions do not know yet, or that few kernels serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dockercni.cni import result
from dockercni.linux import links
from dockercni.plugins import firewall, layout, portmap, ruleset, tuning_conf
from dockercni.plugins.contract import Request
from tests.unit.plugins.asking import Executables, ask, call

ROUTE = {"dst": "10.9.0.0/16", "gw": "10.1.0.9", "mtu": 1300, "advmss": 1200, "priority": 7, "table": 9, "scope": 253}
LINKS = [{"name": "cni0"}, {"name": "veth1"}, {"name": "eth0", "sandbox": "/run/netns/c1"}]
PREVIOUS = {"cniVersion": "1.0.0", "interfaces": LINKS, "ips": [{"address": "10.1.0.2/24", "interface": 2}]}


def request(plugin: str, **conf: Any) -> Request:
    """A request for an ADD."""
    made = call("ADD", {"type": plugin})
    return Request(made, conf, "net", "1.0.0", "c1", "/run/netns/c1", "eth0", Executables())


@pytest.mark.parametrize("plugin", ["host-local", "static"])
def test_routes(plugin: str, tmp_path: Path) -> None:
    """Everything that a route may have is handed on."""
    own = {"host-local": {"subnet": "10.1.0.0/24", "dataDir": str(tmp_path)}, "static": {}}[plugin]
    ipam = {"type": plugin, **own, "routes": [ROUTE]}
    made = ask("ADD", {"cniVersion": "1.1.0", "name": "net", "type": plugin, "ipam": ipam})
    assert made["routes"] == [ROUTE]


@pytest.mark.parametrize("conf", [{"txQLen": 500}, {"txQLen": 7, "args": {"cni": {"txQLen": 500}}}])
def test_queue(conf: dict[str, Any]) -> None:
    """The length of the transmit queue, of which args.cni has the last word."""
    wanted = tuning_conf.read(request("tuning", **conf))
    assert tuning_conf.changes("eth0", wanted) == [links.set_queue("eth0", 500)]


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_protocols(protocol: str) -> None:
    """A port is that of its protocol and of no other."""
    port = {"hostPort": 8080, "containerPort": 80, "protocol": protocol}
    made = request("portmap", runtimeConfig={"portMappings": [port]}, snat=False)
    number = {"tcp": 6, "udp": 17, "sctp": 132}[protocol]
    (element,) = portmap.elements(ruleset.owner(made), made.fields, result.parse(PREVIOUS, "1.0.0"))
    assert layout.describe(element).startswith(f"{number} . 8080 ")


@pytest.mark.parametrize("policy", ["", "open", "same-bridge", "isolated"])
def test_policies(policy: str) -> None:
    """Only same-bridge and isolated keep bridges apart, and only isolated the ports of one."""
    made = request("firewall", ingressPolicy=policy)
    expected = ruleset.bridge("cni0", isolated=policy == "isolated") if policy not in {"", "open"} else []
    assert firewall.elements(ruleset.owner(made), made.fields, result.parse(PREVIOUS, "1.0.0")) == expected
