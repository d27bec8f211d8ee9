"""`dockercni inspect CONTAINER...`: the networks of containers, in the form of docker inspect."""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from dockercni import logs, render
from dockercni.cni import CacheEntry, CNIError, parse_list
from dockercni.commands.containers import former_backend, resolve
from dockercni.commands.table import Invocation
from dockercni.reconcile import ports, records
from dockercni.wiring import App, wire


def run(invocation: Invocation) -> int:
    """Print an array with one object for each container; an unknown container is an error."""
    logs.configure("warning", "auto")
    app = wire(invocation.settings)
    ids = [resolve(app, name) for name in invocation.args.containers]
    files = {network.name: str(network.source) for network in app.networks.catalogue().networks if network.source}
    render.array([_container(app, container_id, files) for container_id in ids])
    return 0


def _container(app: App, container_id: str, files: Mapping[str, str]) -> dict[str, Any]:
    entries = sorted(_entries(app, container_id), key=lambda entry: entry.ifname)
    known = app.client.container(container_id)
    name = known.name if known else next((_owner(entry) for entry in entries), "")
    return {
        "schema": 1,
        "Id": container_id,
        "Name": f"/{name or container_id}",
        "NetworkSettings": {
            "SandboxKey": entries[0].netns if entries else "",
            "Ports": _ports(entries),
            "Networks": _networks(entries, files),
        },
    }


def _entries(app: App, container_id: str) -> Iterator[CacheEntry]:
    for entry in app.attacher.cache.entries(container_id, lambda error: render.error(str(error))):
        if records.record(entry):
            yield entry


def _owner(entry: CacheEntry) -> str:
    return (entry.owner or {}).get(records.NAME, "")


def _networks(entries: Sequence[CacheEntry], files: Mapping[str, str]) -> dict[str, Any]:
    """By network name; the key of a second interface on one network is NETWORK@IFNAME, as in the label networks."""
    found: dict[str, Any] = {}
    for entry in entries:
        key = f"{entry.network}@{entry.ifname}" if entry.network in found else entry.network
        found[key] = _network(entry, files.get(entry.network))
    return found


def _network(entry: CacheEntry, file: str | None) -> dict[str, Any]:
    result = records.given(entry)
    addresses = result.addresses_of(entry.ifname)
    gateways = [ip.gateway for ip in result.ips if ip.gateway]
    four = next((one for one in addresses if isinstance(one, IPv4Interface)), None)
    six = next((one for one in addresses if not isinstance(one, IPv4Interface)), None)
    return {
        "IPAddress": str(four.ip) if four else "",
        "IPPrefixLen": four.network.prefixlen if four else 0,
        "Gateway": next((str(one) for one in gateways if isinstance(one, IPv4Address)), ""),
        "GlobalIPv6Address": str(six.ip) if six else "",
        "GlobalIPv6PrefixLen": six.network.prefixlen if six else 0,
        "IPv6Gateway": next((str(one) for one in gateways if not isinstance(one, IPv4Address)), ""),
        "MacAddress": records.mac(entry),
        "Aliases": None,
        "CNI": {
            "IfName": entry.ifname,
            "File": file,
            "Complete": entry.complete,
            "Plugins": _plugins(entry),
            "Args": dict(entry.args),
            "CapabilityArgs": dict(entry.capability_args),
            "Result": entry.result,
        },
    }


def _plugins(entry: CacheEntry) -> list[dict[str, str]]:
    try:
        types = [plugin.type for plugin in parse_list(entry.config).plugins]
    except CNIError:
        types = []
    served = [*entry.served, *[""] * len(types)]
    return [
        {"Type": kind, "Backend": one, "Engine": former_backend(one)} for kind, one in zip(types, served, strict=False)
    ]


def _ports(entries: Sequence[CacheEntry]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for entry in entries:
        for mapping in ports.recorded(entry.capability_args):
            place = {"HostIp": mapping.get("hostIP") or "0.0.0.0", "HostPort": str(mapping["hostPort"])}  # noqa: S104  shown, not bound
            found.setdefault(f"{mapping['containerPort']}/{mapping['protocol']}", []).append(place)
    return found
