"""The firewall: which iptables there is, what FORWARD does, and whether DOCKER-USER is there to let us through."""

from __future__ import annotations

from collections.abc import Iterator
from shutil import which

from dockercni.commands.diagnosis.finding import Finding, fail, ok, warn
from dockercni.kernel import iptables
from dockercni.kernel.forward import DOCKER as CHAIN
from dockercni.kernel.iptables import IptablesError

_INSTALL = "apt-get install iptables"


def findings() -> Iterator[Finding]:
    """Flavours, policy, chain, nft."""
    try:
        yield from _iptables()
    except IptablesError as error:
        yield warn("iptables", str(error), "run doctor as root")
    if which("nft"):
        yield ok("nft", "nft is there")
    else:
        yield warn("nft", "there is no nft", "apt-get install nftables")


def _iptables() -> Iterator[Finding]:
    if not which("iptables"):
        yield fail("iptables", "there is no iptables: portmap, firewall and masquerading fail", _INSTALL)
        return
    flavour = iptables.flavour("iptables")
    yield ok("iptables", f"iptables is the {flavour} one")
    if not which("ip6tables"):
        yield warn("iptables", "there is no ip6tables: IPv6 networks fail", _INSTALL)
    chains = iptables.filter_chains(CHAIN)
    if flavour == "nft" and (tables := iptables.legacy_tables()):
        yield warn(
            "iptables",
            f"the legacy flavour has tables as well ({', '.join(tables)}): rules of both apply, each sees its own",
            "iptables-legacy-save, then move its rules and reboot",
        )
    policy = iptables.policy("iptables", "FORWARD")
    if policy != "DROP":
        yield ok("FORWARD", f"the policy is {policy}")
    elif any(chain.command.startswith("iptables") for chain in chains):
        yield ok("FORWARD", f"the policy is DROP, and {CHAIN} lets our bridges through")
    else:
        yield fail(
            "FORWARD",
            f"the policy is DROP, and there is no {CHAIN} to let our bridges through",
            f"iptables -N {CHAIN} && iptables -I FORWARD -j {CHAIN}, or start Docker with --iptables",
        )
    used = {_flavour_of(chain.command) for chain in chains}
    if other := used - {flavour, ""}:
        yield warn(
            "iptables",
            f"Docker keeps {CHAIN} in the {', '.join(other)} flavour, the plugins use the {flavour} one",
            "update-alternatives --config iptables, then restart Docker",
        )


def _flavour_of(command: str) -> str:
    return next((flavour for flavour in ("nft", "legacy") if command.endswith(f"-{flavour}")), "")
