"""The networks: the files of the configuration directory, or a built-in one if there is no file."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final

import structlog

from dockercni.cni import ConfigurationError, Directory, NetworkList, load_directory, parse_list
from dockercni.errors import DockercniError, Retry, UnknownNetwork
from dockercni.linux import host_links
from dockercni.model import IPNetwork
from dockercni.plugins.dispatch import KEY
from dockercni.reconcile import claims, state

BUILT_IN: Final = "dockercni"
BUILT_IN_BRIDGE: Final = "dockercni0"
SUBNET_FILE: Final = "built-in-subnet.json"
SUBNETS: Final = ("10.22.0.0/16", "10.122.0.0/16", "10.222.0.0/16", "172.30.0.0/16")

log = structlog.get_logger()


class NetworkUnavailable(DockercniError):
    """The network has a broken configuration file; it is tried again when the file has changed."""

    retry = Retry.LATER


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The networks as of one reading of the directory."""

    directory: Directory
    built_in: NetworkList | NetworkUnavailable | None
    preferred: str = ""

    @property
    def networks(self) -> tuple[NetworkList, ...]:
        """All that can be used."""
        return (*((self.built_in,) if isinstance(self.built_in, NetworkList) else ()), *self.directory.networks)

    def get(self, name: str) -> NetworkList:
        """The network called `name`; the default one for "". Raises UnknownNetwork, NetworkUnavailable."""
        name = name or self.preferred
        if not name:
            return self._default()
        for network in self.networks:
            if network.name == name:
                return network
        known = ", ".join(network.name for network in self.networks) or "none"
        broken = "".join(f"; {error}" for error in self.directory.broken)
        raise UnknownNetwork(f'there is no network "{name}" (known: {known}{broken})')

    def _default(self) -> NetworkList:
        first = self.built_in or Directory(tuple(eligible(self.directory))).first()
        if isinstance(first, NetworkList):
            return first
        # not the next file instead: that may be a network that this container must not be on
        raise NetworkUnavailable(f"the default network cannot be used: {first}")


class Networks:
    """Reads the configuration directory again whenever it has changed. Thread-safe.

    `mtu` is that of the built-in network; 0 for the usual one.
    """

    def __init__(self, conf_dir: Path, state_dir: Path, preferred: str = "") -> None:
        self._conf_dir = conf_dir
        self._state_dir = state_dir
        self._preferred = preferred
        self.mtu = 0
        self._guard = threading.Lock()
        self._seen: object = None
        self._catalogue: Catalogue | None = None

    def catalogue(self) -> Catalogue:
        """The networks as of now."""
        with self._guard:
            seen = _signature(self._conf_dir)
            if self._catalogue is None or seen != self._seen:
                self._catalogue = self._read()
                self._seen = seen
            return self._catalogue

    def learn(self, mtu: int) -> None:
        """The engine's links have that MTU, so those of the built-in network get it as well."""
        with self._guard:
            if mtu != self.mtu:
                self.mtu = mtu
                self._catalogue = None

    def _read(self) -> Catalogue:
        directory = load_directory(self._conf_dir)
        for error in directory.broken:
            log.error("configuration unusable", reason=str(error))
        built_in = None if any(eligible(directory)) else self._built_in(directory)
        return Catalogue(directory, built_in, self._preferred)

    def _built_in(self, directory: Directory) -> NetworkList | NetworkUnavailable:
        try:
            subnet = self._subnet(directory)
        except NetworkUnavailable as error:
            log.error("no built-in network", reason=str(error))
            return error
        reason = f"no configuration in {self._conf_dir} may be the default"
        log.info("the built-in network serves", network=BUILT_IN, subnet=subnet, reason=reason)
        return built_in_network(subnet, self.mtu)

    def _subnet(self, directory: Directory) -> str:
        """The subnet of the built-in network: chosen once, then kept, whatever routes appear later."""
        path = self._state_dir / SUBNET_FILE
        chosen = state.recall(path, dict[str, str], {}).get("subnet", "")
        if not chosen:
            claimed = [subnet for network in directory.networks for subnet in claims.subnets(network)]
            chosen = free_subnet([*host_links.used_subnets(besides={BUILT_IN_BRIDGE}), *claimed])
            state.keep(path, {"subnet": chosen})
        return chosen


def free_subnet(used: Iterable[IPNetwork], candidates: Iterable[str] = SUBNETS) -> str:
    """The first of the `candidates` that overlaps nothing that is `used`. Raises NetworkUnavailable for none."""
    others = [network for network in used if network.version == 4]
    for subnet in candidates:
        if not any(IPv4Network(subnet).overlaps(other) for other in others):
            return subnet
    raise NetworkUnavailable(
        f"routes of this host overlap all of {', '.join(SUBNETS)}; configure a network of your own"
    )


def built_in_network(subnet: str, mtu: int = 0) -> NetworkList:
    """The network that serves if none is configured; `mtu` is that of its links, 0 for the usual one."""
    bridge: dict[str, Any] = {
        "type": "bridge",
        "bridge": BUILT_IN_BRIDGE,
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        **({"mtu": mtu} if mtu else {}),
        "capabilities": {"ips": True, "mac": True},
        "ipam": {"type": "host-local", "ranges": [[{"subnet": subnet}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    plugins = [bridge, portmap, {"type": "firewall"}]
    return parse_list(json.dumps({"cniVersion": "1.0.0", "name": BUILT_IN, "plugins": plugins}).encode())


def eligible(directory: Directory) -> Iterator[tuple[Path, NetworkList | ConfigurationError]]:
    """The files that may be the default network: not those that say `"dockercni": {"default": false}`.

    A network that was added beside others says so: then it gets none of their containers, whatever its file is called.
    If all say so, the one that has the name of the built-in network, if any, replaces that.
    """
    named = [(path, found) for path, found in directory.files if getattr(found, "name", "") == BUILT_IN]
    able = [(path, found) for path, found in directory.files if not (isinstance(found, NetworkList) and _added(found))]
    yield from able or named


def _added(network: NetworkList) -> bool:
    ours = network.extra.get(KEY)
    return isinstance(ours, dict) and ours.get("default") is False


def _signature(directory: Path) -> object:
    """Changes whenever a file of the directory or below it changes, or its permissions."""
    found = []
    for place, folders, files in os.walk(directory):
        folders.sort()
        for name in (".", *sorted(files)):
            try:
                stat = os.stat(os.path.join(place, name))
            except OSError:
                continue
            changed = (
                (stat.st_size, stat.st_mtime_ns) if name != "." else ()
            )  # a directory's time and size change without its listed files
            found.append((place, name, stat.st_ino, stat.st_mode, stat.st_uid, stat.st_gid, *changed))
    return found
