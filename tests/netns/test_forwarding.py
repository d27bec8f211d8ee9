"""What passes FORWARD, on hosts without an engine: in both flavours of iptables, and before the first plugin runs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.hosts import Host, NoAnswer, Outside, Place, peer_of, wait_until
from tests.netns.hosted import plugin_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
IPAM = {
    "type": "host-local",
    "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
}
BRIDGE = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "ipam": IPAM}


@pytest.fixture
def alone() -> Iterator[Host]:
    """A host of its own, with the network `lan`."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with Host() as host:
        lan = {"cniVersion": "1.0.0", "name": "lan", "plugins": [BRIDGE, {"type": "firewall"}]}
        host.write("/etc/cni/net.d/10-lan.conflist", json.dumps(lan))
        yield host


def cli(host: Host, *arguments: str) -> str:
    """What a command prints."""
    env = {"PYTHONPATH": str(ROOT)}
    return host.run(sys.executable, "-m", "dockercni", *arguments, env=env).stdout


def attached(host: Host, name: str, *flags: str) -> Place:
    """A namespace with the network."""
    host.run("ip", "netns", "add", name)
    cli(host, "add", name, f"/run/netns/{name}", *flags)
    return Place((*host.entry, "nsenter", f"--net=/run/netns/{name}", "--"), host.env, host.logs)


def seen_as(place: Place, address: str) -> str:
    """Under which address a server sees `place`; "" without an answer."""
    try:
        return peer_of(place.tcp_request(address, 9100, timeout=1))
    except NoAnswer:
        return ""


@pytest.mark.parametrize("flavour", ["nft", "legacy"])
def test_flavours(alone: Host, flavour: str) -> None:
    """The chain comes into the flavour in which there are rules, in both IP versions, and goes with the attachment;
    the other flavour gets no tables."""
    commands = [f"{family}-{flavour}" for family in ("iptables", "ip6tables")]
    for command in commands:
        alone.run(command, "-P", "FORWARD", "DROP")
    outside = Outside(alone)
    outside.serve_tcp(9100)
    try:
        inside = attached(alone, "c1")
        assert seen_as(inside, outside.address) == outside.host_address
        # IPv6 wants to know first that nobody else has the address
        wait_until(lambda: seen_as(inside, outside.address6) == outside.host_address6, 10, "an answer over IPv6")
        for command in commands:
            assert "-A FORWARD -j DOCKERCNI-FORWARD" in alone.run(command, "-S").stdout
            alone.run(command, "-F")
        assert not seen_as(inside, outside.address)
        attached(alone, "c2")
        assert seen_as(inside, outside.address) == outside.host_address
        other = {
            "nft": "cat /proc/net/ip_tables_names /proc/net/ip6_tables_names",
            "legacy": "nft list table ip filter",
        }
        assert not alone.run("sh", "-c", other[flavour], check=False).stdout
        for name in ("c1", "c2"):
            cli(alone, "del", name)
        assert all("DOCKERCNI" not in alone.run(command, "-S").stdout for command in commands)
    finally:
        outside.close()


def test_before_the_first_plugin(alone: Host) -> None:
    """A bridge is open when its plugin is called, which may need that: DHCP where bridges pass iptables."""
    script = f"#!/bin/sh\niptables -S DOCKERCNI-FORWARD >>/run/at-add 2>&1\nexec {plugin_directory()}/bridge\n"
    alone.write("/run/bin/bridge", script)
    alone.run("chmod", "755", "/run/bin/bridge")
    flags = ("--backend=exec", f"--cni-bin-dir=/run/bin:{plugin_directory()}")
    attached(alone, "c1", *flags)
    assert '-A DOCKERCNI-FORWARD -i cni0 -m comment --comment "dockercni:cni0" -j ACCEPT' in alone.read("/run/at-add")


def test_nothing_is_opened_by_what_fails(alone: Host) -> None:
    """An ADD that fails leaves no chain."""
    alone.run("iptables", "-P", "FORWARD", "DROP")
    alone.run("ip", "link", "add", "cni0", "type", "veth", "peer", "name", "cni1")
    alone.run("ip", "netns", "add", "c1")
    env = {"PYTHONPATH": str(ROOT)}
    done = alone.run(sys.executable, "-m", "dockercni", "add", "c1", "/run/netns/c1", check=False, env=env)
    assert "is not a bridge" in done.stderr
    assert "DOCKERCNI" not in alone.run("iptables", "-S").stdout
