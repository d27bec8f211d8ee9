"""The firewall: iptables and nft, and what drops forwarded packets of either IP version."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from shutil import which

from dockercni.cni import Cache
from dockercni.commands.diagnosis.finding import Finding, fail, ok, warn
from dockercni.docker.client import Client
from dockercni.errors import DockercniError
from dockercni.linux import firewalld, forward, iptables, nft
from dockercni.linux.iptables import Filter, IptablesError
from dockercni.linux.nft import NftablesError
from dockercni.plugins import layout
from dockercni.reconcile.forwarding import Forwarding
from dockercni.reconcile.history import History
from dockercni.settings import Settings

_INSTALL = "apt-get install iptables"


def findings(settings: Settings, client: Client) -> Iterator[Finding]:
    """Flavours, policies, our chain, other tables that drop."""
    try:
        yield from _iptables(settings, client)
    except (IptablesError, OSError) as error:
        yield warn("iptables", str(error), "run doctor as root")
    if which("nft"):
        yield ok("nft", "nft is installed")
    else:
        yield warn("nft", "nft is not installed", "apt-get install nftables")
    yield from _others()


def _iptables(settings: Settings, client: Client) -> Iterator[Finding]:
    if not which("iptables"):
        yield fail("iptables", "not installed: portmap, firewall, masquerading and isolation fail", _INSTALL)
        return
    flavour = iptables.flavour("iptables")
    yield ok("iptables", f"iptables is the {flavour} flavour")
    if not which("ip6tables"):
        yield warn("iptables", "ip6tables is not installed: IPv6 networks fail", _INSTALL)
    if flavour == "nft" and (tables := iptables.legacy_tables()):
        yield warn(
            "iptables",
            f"the legacy flavour has tables as well ({', '.join(tables)}): both apply, and each command shows its own",
            "iptables-legacy-save, then move its rules and reboot",
        )
    for version in iptables.FAMILIES:
        for table in iptables.filters(version):
            yield from _forward(table, flavour)
    history = History(settings.state_dir / "containers")
    forwarding = Forwarding(Cache(settings.cni_cache_dir), history, isolate=settings.isolation == "on")
    with contextlib.suppress(DockercniError):  # another finding says that the engine is away
        forwarding.learn(client.networks())
    for problem in forwarding.problems():
        yield fail("FORWARD", problem, "dockercni sync")
    if settings.isolation == "off":
        yield ok("isolation", "isolation is off: networks reach each other's unpublished ports")


def _forward(table: Filter, flavour: str) -> Iterator[Finding]:
    policies, chains = table.listing()
    policy = policies.get(forward.FORWARD, "ACCEPT")
    state = f"{table.command}: the policy is {policy}"
    if policy == "ACCEPT":
        yield ok("FORWARD", state)
    else:
        place = f"directly behind {forward.DOCKER}" if forward.DOCKER in chains else "at its top"
        yield ok("FORWARD", f"{state}, and {forward.CHAIN} lets attached containers through, {place}")
    other = next((kind for kind in ("nft", "legacy") if table.command.endswith(f"-{kind}")), flavour)
    if forward.DOCKER in chains and other != flavour:
        yield warn(
            "iptables",
            f"Docker keeps {forward.DOCKER} in the {other} flavour, the plugins use the {flavour} one",
            "update-alternatives --config iptables, then restart Docker",
        )


def _others() -> Iterator[Finding]:
    """Other chains that drop by policy: a packet must pass all of them, so an ACCEPT of iptables is not enough."""
    if not nft.available():
        return
    try:
        listed = [entry["chain"] for entry in nft.listing("list chains") if "chain" in entry]
    except NftablesError as error:
        yield warn("FORWARD", f"cannot list nftables: {error}", "run doctor as root")
        return
    for chain in listed:
        family, table, name = chain["family"], chain["table"], chain["name"]
        if chain.get("hook") != "forward" or chain.get("policy") != "drop" or table == layout.NAME:
            continue
        if (table, name) == ("filter", forward.FORWARD) and family in {"ip", "ip6"}:
            continue  # the chain of iptables itself
        yield warn(
            "FORWARD",
            f"chain {name} of the nftables table {family} {table} drops what none of its own rules accepts",
            f"nft insert rule {family} {table} {name} iifname BRIDGE accept, the same for oifname, for each network",
        )
    if firewalld.runs():
        yield warn(
            "FORWARD",
            "firewalld runs, and rejects interfaces that are in none of its zones",
            "firewall-cmd --zone=trusted --add-interface=BRIDGE, for each network (--permanent as well)",
        )
