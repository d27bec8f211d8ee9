"""The networks: files, plugins, and collisions of bridges and subnets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Final

from dockercni.cni import NetworkList, load_directory, trust
from dockercni.commands.diagnosis.finding import Finding, fail, ok, warn
from dockercni.commands.diagnosis.host import directory_finding, not_obeyed
from dockercni.commands.plugin_versions import PluginVersions, Probe
from dockercni.docker.client import Client
from dockercni.errors import DockercniError
from dockercni.linux import host_links
from dockercni.model import IPNetwork
from dockercni.reconcile import claims, networks, orphans, state
from dockercni.reconcile.claims import bridges, overlap, parsed
from dockercni.settings import Settings

_INSTALL: Final = "apt-get install containernetworking-plugins, or set cni-bin-dir"


def findings(settings: Settings, client: Client) -> Iterator[Finding]:
    """Every configuration, alone and compared with the others, Docker's networks and the host's routes."""
    directory = load_directory(settings.cni_conf_dir)
    for error in directory.broken:
        yield fail("configuration", str(error), "dockercni networks validate FILE")
    configured = list(directory.networks)
    if not any(networks.eligible(directory)):
        try:
            configured.insert(0, _built_in(settings))
            yield ok("configuration", f"no default in {settings.cni_conf_dir}: the built-in network serves")
        except DockercniError as error:
            yield fail("configuration", str(error), "dockercni networks init --subnet CIDR")
    yield from _default(settings, directory.files, configured)
    yield from _plugins(settings, configured)
    yield from _stores(configured)
    yield from _collisions(configured)
    yield from _with_docker(configured, client)
    yield from _with_routes(configured)


def _built_in(settings: Settings) -> NetworkList:
    """The built-in network with the subnet that it has or would get; unlike the daemon, doctor does not record it."""
    chosen = state.read(settings.state_dir / networks.SUBNET_FILE, dict[str, str], {}).get("subnet")
    return networks.built_in_network(
        chosen or networks.free_subnet(host_links.used_subnets(besides={networks.BUILT_IN_BRIDGE}))
    )


def _default(settings: Settings, files: Sequence[object], configured: Sequence[NetworkList]) -> Iterator[Finding]:
    name = settings.default_network
    if name and name not in {network.name for network in configured}:
        known = ", ".join(network.name for network in configured) or "none"
        yield fail("configuration", f'default-network is "{name}", which no file describes (known: {known})')
    elif files:
        yield ok("configuration", f"{len(configured)} networks in {settings.cni_conf_dir}")


def _plugins(settings: Settings, configured: Sequence[NetworkList]) -> Iterator[Finding]:
    probe = Probe(settings)
    reported: set[PluginVersions] = set()
    for network in configured:
        for one in probe.plugins(network):
            if one not in reported:
                reported.add(one)
                if one.problem:
                    yield fail("plugins", one.problem, _INSTALL if one.missing else "")
                else:
                    yield ok("plugins", f"{one.type}: {one.path}, CNI {one.span}")
            if one.versions and network.cni_version not in one.versions:
                yield fail(
                    "plugins",
                    f"network {network.name} is of CNI {network.cni_version}, {one.type} supports {one.span}",
                    f"set cniVersion to {one.versions[-1]}, or install newer plugins",
                )


def _stores(configured: Sequence[NetworkList]) -> Iterator[Finding]:
    """The directories of host-local's leases, which each network may choose."""
    places = dict.fromkeys(store.parent for _, store in orphans.stores(configured))
    yield from (directory_finding("ipam.dataDir", place) for place in places)
    for _, store in orphans.stores(configured):
        if flaw := trust.flaw_of(store):
            yield not_obeyed(flaw)


def _collisions(configured: Sequence[NetworkList]) -> Iterator[Finding]:
    for one, other in combinations(configured, 2):
        if shared := set(bridges(one)) & set(bridges(other)):
            yield warn(
                "collision",
                f"networks {one.name} and {other.name} share the bridge {', '.join(sorted(shared))}",
                "give each its own bridge name, unless they should be one segment",
            )
        for mine in _pools(one):
            for theirs in _pools(other):
                if overlap(mine, theirs):
                    yield fail(
                        "collision",
                        f"subnet {mine} of network {one.name} overlaps {theirs} of network {other.name}",
                        "give each its own subnet",
                    )


def _with_docker(configured: Sequence[NetworkList], client: Client) -> Iterator[Finding]:
    try:
        theirs = client.networks()
    except DockercniError as error:
        yield warn("collision", f"cannot list Docker's networks: {error}")
        return
    for network in configured:
        for docker in theirs:
            for subnet in _pools(network):
                if any(overlap(subnet, other) for text in docker.subnets if (other := parsed(text))):
                    yield fail(
                        "collision",
                        f"subnet {subnet} of network {network.name} overlaps Docker's network {docker.Name}",
                        f"change one of them, or docker network rm {docker.Name}",
                    )
            if docker.bridge and docker.bridge in bridges(network):
                yield fail(
                    "collision",
                    f"the bridge {docker.bridge} of network {network.name} is that of Docker's network {docker.Name}",
                    "give the network a bridge of its own",
                )


def _with_routes(configured: Sequence[NetworkList]) -> Iterator[Finding]:
    ours = {subnet for network in configured for subnet in _pools(network)}
    for network in configured:
        routed = host_links.used_subnets(besides=bridges(network))
        for subnet in _pools(network):
            for route in routed:
                whole = route.prefixlen < route.max_prefixlen  # else an address: its subnet has a route as well
                if whole and overlap(subnet, route) and route not in ours:
                    yield warn(
                        "collision",
                        f"subnet {subnet} of network {network.name} overlaps the host's route to {route}",
                        f"ip route show {route}",
                    )


def _pools(network: NetworkList) -> list[IPNetwork]:
    """The subnets that addresses are chosen from. Static ones are left out: networks may share their subnets."""
    chosen = [plugin for plugin in network.plugins if plugin.raw.get("ipam", {}).get("type") != "static"]
    return claims.subnets(replace(network, plugins=tuple(chosen)))
