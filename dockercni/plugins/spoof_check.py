"""macspoofchk: a port of the bridge may send only with the MAC of its container.

In the table and chains of the reference plugin (`bridge nat`), so that the executable takes down what this plugin put
up, and the other way round.
"""

from __future__ import annotations

import re
from typing import Final

from dockercni.linux import nft
from dockercni.linux.nft import NftablesError
from dockercni.plugins.contract import PluginFailure

_TABLE: Final = "bridge nat"
_BASE: Final = "PREROUTING"
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]+")


def add(port: str, mac: str, container_id: str, ifname: str) -> None:
    """Let frames from `port` through only with `mac`. Raises PluginFailure."""
    if not _WORD.fullmatch(container_id + ifname):  # it becomes part of a ruleset's text
        raise PluginFailure(f"macspoofchk cannot be had for an interface called {ifname!a}")
    chain = _chain(container_id, ifname)
    mark = f'comment "{_mark(container_id, ifname)}"'
    ruleset = f"""
add table {_TABLE}
add chain {_TABLE} {_BASE} {{ type filter hook prerouting priority -300; policy accept; }}
add chain {_TABLE} {chain}
add chain {_TABLE} {chain}-mac
flush chain {_TABLE} {chain}
flush chain {_TABLE} {chain}-mac
add rule {_TABLE} {_BASE} iifname "{port}" jump {chain} {mark}
add rule {_TABLE} {chain} jump {chain}-mac {mark}
add rule {_TABLE} {chain}-mac ether saddr {mac} return {mark}
add rule {_TABLE} {chain}-mac drop {mark}
"""
    try:
        nft.apply(ruleset)
    except NftablesError as error:
        raise PluginFailure(f"failed to setup spoof-check: {error}") from error


def remove(container_id: str, ifname: str) -> None:
    """Remove the rules. Success if there are none. Raises PluginFailure."""
    if not _WORD.fullmatch(container_id + ifname):
        return
    chain, mark = _chain(container_id, ifname), _mark(container_id, ifname)
    try:
        present = nft.listing(f"list table {_TABLE}")
        found = [entry["rule"] for entry in present if entry.get("rule", {}).get("comment") == mark]
        names = {entry["chain"]["name"] for entry in present if "chain" in entry}
        jumps = [f"delete rule {_TABLE} {_BASE} handle {rule['handle']}" for rule in found if rule["chain"] == _BASE]
        chains = [f"delete chain {_TABLE} {name}" for name in (chain, f"{chain}-mac") if name in names]
        if jumps or chains:
            nft.apply("\n".join([*jumps, *(f"flush {line.removeprefix('delete ')}" for line in chains), *chains]))
    except NftablesError as error:
        if not error.missing:
            raise PluginFailure(f"failed to teardown spoof-check: {error}") from error


def _chain(container_id: str, ifname: str) -> str:
    return f"cni-br-iface-{container_id}-{ifname}"


def _mark(container_id: str, ifname: str) -> str:
    return f"macspoofchk-{container_id}-{ifname}"
