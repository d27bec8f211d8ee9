"""What a new network must not collide with: other configurations, what is still attached, the engine's networks, links.

Where the engine does not answer, its settings file says which subnets it takes its networks from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final

from dockercni.cni import Cache, CNIError, Directory, NetworkList
from dockercni.docker.client import Client
from dockercni.errors import DockercniError
from dockercni.files import read_regular
from dockercni.linux import host_links
from dockercni.model import IPNetwork
from dockercni.reconcile import claims, networks, state

DAEMON_JSON: Final = Path("/etc/docker/daemon.json")
_MAX_FILE: Final = 1 << 20  # bytes of a file
_POOLS: Final = ("172.16.0.0/12", "192.168.0.0/16")  # from which the engine takes subnets by default


@dataclass(slots=True)
class Occupied:
    """`claimed` are subnets with their owners, `used` those that the host routes, `bridges` names of links in use.

    `avoided` are subnets that others may use later: not chosen freely, but granted if the user asks for one.
    """

    claimed: list[tuple[IPNetwork, str]] = field(default_factory=list)
    used: list[IPNetwork] = field(default_factory=list)
    avoided: list[IPNetwork] = field(default_factory=list)
    bridges: set[str] = field(default_factory=set)

    @property
    def everything(self) -> list[IPNetwork]:
        """What a free choice keeps away from."""
        return [*(subnet for subnet, _ in self.claimed), *self.used, *self.avoided]


def survey(name: str, directory: Directory, client: Client, cache: Cache, state_dir: Path) -> Occupied:
    """Everything that network `name` must not collide with, except what it has itself already.

    Raises OSError if links and routes cannot be read.
    """
    found = Occupied()
    mine: set[str] = set()
    for path, each in directory.files:
        if not isinstance(each, NetworkList):
            found.claimed += [(subnet, str(path)) for subnet in claims.mentioned(_text(path))]
        elif each.name == name:
            mine |= set(claims.bridges(each))
        else:
            found.claimed += [(subnet, f"network {each.name} ({path})") for subnet in claims.subnets(each)]
            found.bridges |= set(claims.bridges(each))
    if name == networks.BUILT_IN:
        mine.add(networks.BUILT_IN_BRIDGE)
    else:
        found.claimed += _built_in(state_dir)
    found.claimed += _attached(name, cache)
    _add_engine(found, client)
    found.used += host_links.used_subnets(besides=mine)
    found.bridges |= host_links.names() - mine
    return found


def _built_in(state_dir: Path) -> Iterator[tuple[IPNetwork, str]]:
    """The subnet of the built-in network, also while that does not serve."""
    try:
        chosen = state.read(state_dir / networks.SUBNET_FILE, dict[str, str], {}).get("subnet", "")
    except state.StateError:  # not root, or damaged: its bridge has a route if it is in use
        return
    if subnet := claims.parsed(chosen):
        yield subnet, f"the built-in network {networks.BUILT_IN}"


def _attached(name: str, cache: Cache) -> Iterator[tuple[IPNetwork, str]]:
    """The subnets of attachments whose configuration may be gone."""
    for entry in cache.entries():
        if entry.network != name:
            try:
                ips = entry.attached.ips
            except CNIError:
                continue
            yield from ((ip.address.network, f"attachments to network {entry.network}") for ip in ips)


def _add_engine(found: Occupied, client: Client) -> None:
    settings = _daemon_json()
    found.avoided += [subnet for text in _pools(settings) if (subnet := claims.parsed(text))]
    try:
        theirs = client.networks()
    except DockercniError:
        if not settings.get("default-address-pools"):
            found.avoided += map(IPv4Network, _POOLS)
        return
    for one in theirs:
        owner = f"Docker's network {one.Name}"
        found.claimed += [(subnet, owner) for text in one.subnets if (subnet := claims.parsed(text))]
        found.bridges |= {one.bridge} - {""}


def _pools(settings: dict[str, Any]) -> Iterator[object]:
    yield from (settings.get(key) for key in ("bip", "fixed-cidr", "fixed-cidr-v6"))
    pools = settings.get("default-address-pools")
    for pool in pools if isinstance(pools, list) else ():
        yield pool.get("base") if isinstance(pool, dict) else None


def _daemon_json() -> dict[str, Any]:
    try:
        found = json.loads(read_regular(DAEMON_JSON, _MAX_FILE))
    except (OSError, ValueError, RecursionError):  # the engine reports that itself
        return {}
    return found if isinstance(found, dict) else {}


def _text(path: Path) -> str:
    try:
        return read_regular(path, _MAX_FILE).decode("utf-8", "replace")
    except OSError:
        return ""
