"""The rules of the reference plugins, told from a record."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from dockercni.cni import CacheEntry
from dockercni.linux import firewalld
from dockercni.plugins import firewall
from dockercni.reconcile.firewall_rules import _expected
from dockercni.reconcile.reference_rules import FIREWALL, MASQUERADE, PORTMAP, ReferenceRules, Snapshot, reference_rules

CONTAINER = "2d4cf00660877a34126438de58ebe0789ee6838e424ce484f1833d3be2c8c4b8"
CHAIN, PUBLISHED = "CNI-520d84623abcc21d027774b5", "CNI-DN-520d84623abcc21d02777"  # as the plugins named them
COMMENT = f'-m comment --comment "name: \\"dockercni\\" id: \\"{CONTAINER}\\""'
PLUGINS = [{"type": "bridge", "ipMasq": True}, {"type": "portmap"}, {"type": "firewall"}]

NAT = {
    "PREROUTING": ["-m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT"],
    "OUTPUT": ["-m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT"],
    "POSTROUTING": ["-j CNI-HOSTPORT-MASQ", f"-s 10.22.0.2/32 {COMMENT} -j {CHAIN}"],
    CHAIN: [f"-d 10.22.0.0/16 {COMMENT} -j ACCEPT", f"! -d 224.0.0.0/4 {COMMENT} -j MASQUERADE"],
    "CNI-HOSTPORT-DNAT": [f"-p tcp -m multiport --dports 8080 -j {PUBLISHED}"],
    "CNI-HOSTPORT-SETMARK": ["-j MARK --set-xmark 0x2000/0x2000"],
    "CNI-HOSTPORT-MASQ": ["-m mark --mark 0x2000/0x2000 -j MASQUERADE"],
    PUBLISHED: [
        "-s 10.22.0.0/16 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK",
        "-s 127.0.0.1/32 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK",
        "-p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.22.0.2:80",
    ],
}
FILTER = {
    "FORWARD": ['-m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD'],
    "CNI-FORWARD": [
        "-d 10.22.0.2/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-s 10.22.0.2/32 -j ACCEPT",
        "-s 10.22.0.20/32 -j ACCEPT",
    ],
}


def entry(**changes: object) -> CacheEntry:
    conf = {"cniVersion": "1.0.0", "name": "dockercni", "plugins": PLUGINS}
    whole = CacheEntry(
        network="dockercni",
        container_id=CONTAINER,
        ifname="eth0",
        netns="/run/netns/x",
        config=json.dumps(conf).encode(),
        capability_args={"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]},
        result={"cniVersion": "1.0.0", "ips": [{"address": "10.22.0.2/16"}]},
        served=("exec", "exec", "exec"),
        done=3,
        owner={},
    )
    return replace(whole, **changes)


def known(**changes: object) -> ReferenceRules:
    found = reference_rules(entry(**changes))
    assert found
    return found


def ruleset(nat: dict[str, list[str]] = NAT, flt: dict[str, list[str]] = FILTER) -> Snapshot:
    return Snapshot({("iptables", "nat"): nat, ("iptables", "filter"): flt})


def test_names() -> None:
    """The chains of a container bear the names that the reference plugins give them."""
    assert (known().masquerade_chain, known().portmap_chain) == (CHAIN, PUBLISHED)


def test_complete() -> None:
    """A ruleset as the plugins leave it lacks nothing."""
    assert known().missing(ruleset()) == []


@pytest.mark.parametrize(
    ("table", "chain", "lacks"),
    [
        ("nat", "POSTROUTING", [MASQUERADE, PORTMAP]),
        ("nat", "CNI-HOSTPORT-SETMARK", [PORTMAP]),
        ("nat", "CNI-HOSTPORT-MASQ", [PORTMAP]),
        ("nat", CHAIN, [MASQUERADE]),
        ("nat", "PREROUTING", [PORTMAP]),
        ("nat", "OUTPUT", [PORTMAP]),
        ("nat", "CNI-HOSTPORT-DNAT", [PORTMAP]),
        ("nat", PUBLISHED, [PORTMAP]),
        ("filter", "FORWARD", [FIREWALL]),
        ("filter", "CNI-FORWARD", [FIREWALL]),
    ],
)
def test_missing(table: str, chain: str, lacks: list[str]) -> None:
    """Each chain that is flushed is missed, as a rule of the plugin that fills it."""
    nat, flt = ({**NAT, chain: []}, FILTER) if table == "nat" else (NAT, {**FILTER, chain: []})
    assert known().missing(ruleset(nat, flt)) == lacks


@pytest.mark.parametrize("chain", [CHAIN, PUBLISHED])
def test_one_rule_missing(chain: str) -> None:
    """Each rule of a container's own chains is missed: what flushes them may come in the middle of an ADD."""
    for rule in NAT[chain]:
        rest = [other for other in NAT[chain] if other != rule]
        assert known().missing(ruleset({**NAT, chain: rest})) == [MASQUERADE if chain == CHAIN else PORTMAP], rule


def test_ports() -> None:
    """Each published port has to be reached and led on, in the families of its address and of the container's."""
    ports = ((8080, "tcp", ""), (8081, "tcp", "127.0.0.1"), (8080, "udp", ""), (9, "tcp", "::1"))
    mappings = [{"hostPort": port, "containerPort": 80, "protocol": name, "hostIP": ip} for port, name, ip in ports]
    mark = "CNI-HOSTPORT-SETMARK"
    lines = [
        f"-s {source} {host}-p {protocol} -m {protocol} --dport {port} -j {target}"
        for host, protocol, port in (("", "tcp", 8080), ("-d 127.0.0.1/32 ", "tcp", 8081), ("", "udp", 8080))
        for source, target in (("10.22.0.0/16", mark), ("127.0.0.1/32", mark), ("any", "DNAT --to-destination x"))
    ]
    jumps = [
        f"-p {protocol} -m multiport --dports {listed} -j {PUBLISHED}"
        for protocol, listed in (("tcp", "8080"), ("tcp", "8081"), ("udp", "8080,9"))
    ]
    found = known(capability_args={"portMappings": [*mappings, mappings[0]]})
    assert found.missing(ruleset({**NAT, "CNI-HOSTPORT-DNAT": jumps, PUBLISHED: lines})) == []
    for line in [*lines, *jumps]:
        to, on = ([other for other in some if other != line] for some in (jumps, lines))
        assert found.missing(ruleset({**NAT, "CNI-HOSTPORT-DNAT": to, PUBLISHED: on})) == [PORTMAP], line


@pytest.mark.parametrize("changes", [{"hostIP": "nowhere"}, {"hostPort": "x"}, {"hostPort": 0}, {"hostIP": 7}])
def test_ports_that_are_none(changes: dict[str, object]) -> None:
    """What is recorded as a port and cannot be one, as another runtime may have it, is not missed."""
    mapping = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", **changes}
    found = known(capability_args={"portMappings": [mapping]})
    assert found.missing(ruleset({**NAT, PUBLISHED: []})) == []


def test_masquerade_put_back() -> None:
    """What puts masquerade back makes exactly the rules that bridge had made, the jump only if it is gone."""
    [change] = known().masquerade(ruleset({}))
    assert (change.command, change.table) == ("iptables", "nat")
    assert change.lines == (
        f":{CHAIN} - [0:0]",
        *(f"-A {CHAIN} {rule}" for rule in NAT[CHAIN]),
        f"-A POSTROUTING {NAT['POSTROUTING'][1]}",
    )
    [again] = known().masquerade(ruleset({**NAT, CHAIN: []}))
    assert not any("POSTROUTING" in line for line in again.lines)


def test_leftovers() -> None:
    """A sweep takes the container's chains, the jumps to them and its firewall rules, and nobody else's."""
    changes = {change.table: change.lines for change in known().leftovers(ruleset(), shared=False)}
    assert changes["filter"] == tuple(f"-D CNI-FORWARD {rule}" for rule in FILTER["CNI-FORWARD"][:2])
    assert changes["nat"] == (
        f":{CHAIN} - [0:0]",
        f":{PUBLISHED} - [0:0]",
        f"-D POSTROUTING {NAT['POSTROUTING'][1]}",
        f"-D CNI-HOSTPORT-DNAT {NAT['CNI-HOSTPORT-DNAT'][0]}",
        f"-X {CHAIN}",
        f"-X {PUBLISHED}",
    )


def test_leftovers_shared() -> None:
    """Chains that another interface of the container on the same network uses stay."""
    assert {change.table for change in known().leftovers(ruleset(), shared=True)} == {"filter"}


@pytest.mark.parametrize(
    "changes",
    [
        {"served": ("builtin", "builtin", "builtin")},
        {"config": b"{"},
        {"config": b'{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"macvlan"}]}'},
        {"config": b'{"name":"x","plugins":[{"type":"bridge","ipMasq":true,"ipMasqBackend":"nftables"}]}'},
    ],
)
def test_none(changes: dict[str, object]) -> None:
    """Where no executable that we know left iptables rules, there are no reference rules."""
    assert reference_rules(entry(**changes)) is None


@pytest.mark.parametrize(("pid", "runs"), [("", False), ("no number", False), ("2147483646", False), ("own", True)])
def test_firewalld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pid: str, runs: bool) -> None:
    """The firewall plugin and what looks for its rules agree whether firewalld runs, whose file may be an old one."""
    file = tmp_path / "firewalld.pid"
    if pid:
        file.write_text(str(os.getpid()) if pid == "own" else pid)
    monkeypatch.setattr(firewalld, "_PID", file)
    found = _expected(entry())
    assert found
    assert firewalld.runs() == runs
    assert (FIREWALL not in found.kinds) == (firewall.unsupported({}) == "firewalld is running") == runs
