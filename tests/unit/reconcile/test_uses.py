"""What an attachment needs of FORWARD, told from its record."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address

from dockercni.cni import CacheEntry
from dockercni.reconcile.uses import Use, use

RESULT = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "br7"}, {"name": "veth1"}, {"name": "eth0", "sandbox": "/run/netns/x"}],
    "ips": [{"address": "10.1.0.2/24", "interface": 2}],
}
ADDRESS = frozenset({ip_address("10.1.0.2")})


def entry(*plugins: dict[str, object], **changes: object) -> CacheEntry:
    config = json.dumps({"cniVersion": "1.0.0", "name": "lan", "plugins": plugins}).encode()
    served = ("builtin",) * len(plugins)
    whole = CacheEntry("lan", "c1", "eth0", "/run/netns/x", config, result=RESULT, served=served, owner={})
    return replace(whole, **changes)


def test_bridge() -> None:
    """The bridge of the configuration counts before there is a result, all links of the host with it."""
    bridge = {"type": "bridge", "bridge": "br7"}
    assert use(entry(bridge, result=None)) == Use(frozenset({"br7"}), frozenset({"br7"}))
    assert use(entry(bridge)) == Use(frozenset({"br7"}), frozenset({"br7", "veth1"}), ADDRESS)
    assert use(entry({"type": "bridge"}, result=None)).bridges == {"cni0"}


def test_firewall() -> None:
    """Its policy opens a network; served in this process it asks for addresses where there is no link."""
    assert use(entry({"type": "macvlan"}, {"type": "firewall"})).by_address
    assert not use(entry({"type": "macvlan"}, {"type": "firewall"}, served=("exec", "exec"))).by_address
    assert not use(entry({"type": "macvlan"})).by_address
    assert use(entry({"type": "firewall", "ingressPolicy": "open"})).open
    assert not use(entry({"type": "firewall", "ingressPolicy": "same-bridge"})).open


def test_damaged() -> None:
    """A record that does not say what it is for uses nothing."""
    assert use(entry(config=b"{")) == Use()
