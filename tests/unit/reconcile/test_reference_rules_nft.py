"""The nftables rules of the reference plugins, told from a record."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from dockercni.cni import CacheEntry
from dockercni.reconcile.reference_rules_nft import (
    MASQUERADE,
    PORTMAP,
    NftReferenceRules,
    Rule,
    nft_reference_rules,
    rules,
)

MASQUERADING, PUBLISHING = ("inet", "cni_plugins_masquerade"), ("ip", "cni_hostport")
PLUGINS = [
    {"type": "bridge", "ipMasq": True, "ipMasqBackend": "nftables"},
    {"type": "portmap", "backend": "nftables"},
]


def digest(text: str) -> str:
    return hashlib.sha512(text.encode()).hexdigest()[:16]


OWN = f"{digest('lan')}-{digest('eth0:c1')}, net: lan, if: eth0, id: c1"
PRESENT = [
    Rule(MASQUERADING, "postrouting", 3),
    Rule(MASQUERADING, "masq_checks", 7, OWN),
    Rule(PUBLISHING, "prerouting", 3),
    Rule(PUBLISHING, "output", 4),
    Rule(PUBLISHING, "hostports", 5, "c1"),
    Rule(PUBLISHING, "hostip_hostports", 6, "c1"),
    Rule(PUBLISHING, "masquerading", 7, "c1"),
    Rule(PUBLISHING, "hostports", 8, "c2"),
]


def entry(*plugins: dict[str, Any], **changes: object) -> CacheEntry:
    conf = {"cniVersion": "1.0.0", "name": "lan", "plugins": list(plugins) or PLUGINS}
    ports = [{"hostPort": 8080, "containerPort": 80}, {"hostPort": 81, "containerPort": 81, "hostIP": "198.51.100.1"}]
    whole = CacheEntry(
        network="lan",
        container_id="c1",
        ifname="eth0",
        netns="/run/netns/x",
        config=json.dumps(conf).encode(),
        capability_args={"portMappings": ports},
        result={"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.2/24"}]},
        served=("exec", "exec"),
        owner={},
    )
    return replace(whole, **changes)


def known(*plugins: dict[str, Any], **changes: object) -> NftReferenceRules:
    found = nft_reference_rules(entry(*plugins, **changes))
    assert found
    return found


def test_complete() -> None:
    """A ruleset as the plugins leave it lacks nothing."""
    assert known().missing(PRESENT) == []


@pytest.mark.parametrize(("gone", "lacks"), list(enumerate([MASQUERADE] * 2 + [PORTMAP] * 5)))
def test_missing(gone: int, lacks: str) -> None:
    """Each rule that is gone is missed, as one of the plugin that makes it."""
    assert known().missing([rule for rule in PRESENT if rule != PRESENT[gone]]) == [lacks]


def test_what_is_not_asked_for_is_not_missed() -> None:
    """Without snat nothing is masqueraded for ports, and a port of an IPv6 address has no rule for IPv4."""
    there = [rule for rule in PRESENT if rule.chain != "masquerading"]
    assert known(PLUGINS[0], {**PLUGINS[1], "snat": False}).missing(there) == []
    only6 = {"portMappings": [{"hostPort": 8080, "containerPort": 80, "hostIP": "::1"}]}
    assert known(capability_args=only6).missing(PRESENT[:2]) == []


def test_masquerade() -> None:
    """What puts masquerade back takes what is left of it away first, and nobody else's."""
    text = known().masquerade([PRESENT[1], replace(PRESENT[1], handle=9, comment=f"{digest('x')}-y")])
    assert "delete rule inet cni_plugins_masquerade masq_checks handle 7" in text
    assert "handle 9" not in text
    match = "ip saddr 10.9.0.2 ip daddr != 10.9.0.0/24"
    assert text.endswith(f'add rule inet cni_plugins_masquerade masq_checks {match} masquerade comment "{OWN}"')


def test_leftovers() -> None:
    """A sweep takes all rules of the container, but for ports that another interface of it may have published."""
    handles = [line.rpartition(" ")[2] for line in known().leftovers(PRESENT, shared=False).splitlines()]
    assert handles == ["7", "5", "6", "7"]
    assert known().leftovers(PRESENT, shared=True).count("delete rule") == 1
    assert known().unpublished(PRESENT).count("delete rule") == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"served": ("builtin", "builtin")},
        {"config": b"{"},
        {"config": b'{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"bridge","ipMasq":true},{"type":"portmap"}]}'},
    ],
)
def test_none(changes: dict[str, object]) -> None:
    """Where no executable left nftables rules, there are no reference rules."""
    assert nft_reference_rules(entry(**changes)) is None


def test_listing() -> None:
    """Rules are read from what nft lists; everything else there is nothing to us."""
    listed = [
        {"table": {"family": "ip", "name": "cni_hostport"}},
        {
            "rule": {
                "family": "ip",
                "table": "cni_hostport",
                "chain": "hostports",
                "handle": 5,
                "comment": "c1",
                "expr": [],
            }
        },
    ]
    assert list(rules(listed)) == [PRESENT[4]]
