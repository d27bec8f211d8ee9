"""The frozen records that the packages exchange."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
Destination = tuple[IPNetwork, int]  # of a route, and the number of the table that it stands in
MAIN_TABLE: Final = 254


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """One `-p`: `container_port` is published on the first free one of `host_ports` (empty: any) of `host_ip`."""

    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""
    host_ports: range = range(0)


@dataclass(frozen=True, slots=True)
class DNSOptions:
    """What the user gave as `--dns`, `--dns-search` and `--dns-option`."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the engine describes it.

    `labels` are those of the user who ran it; `dropped` those that came with the image, and are ignored. `image` is set
    as long as the two are not separated because the labels of that image are not known yet.
    """

    id: str
    name: str
    running: bool
    pid: int = 0
    started_at: str = ""
    network_mode: str = "none"
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PublishedPort, ...] = ()
    dropped: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    hostname: str = ""
    domainname: str = ""
    dns: DNSOptions = DNSOptions()


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """One network that a container is to have. `network` is empty for the default one.

    `ports` are published through it; `unpublished` is set on the first request if no network can publish them, with the
    reason. `rivals` are the (network, interface) whose default route takes precedence over this one's; None if none
    does, not even one that exists already.
    """

    network: str
    ifname: str
    ips: tuple[IPAddress, ...] = ()
    mac: str = ""
    args: tuple[tuple[str, str], ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    rivals: tuple[tuple[str, str], ...] | None = None
    unpublished: str = ""


@dataclass(frozen=True, slots=True)
class Unwanted:
    """Why a container is not to have any network from us."""

    reason: str


@dataclass(frozen=True, slots=True)
class NetnsId:
    """The lasting identity of a network namespace: the boot that it exists in, and its cookie within that boot."""

    boot: str
    cookie: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """One (container, network, interface), with what was recorded at ADD.

    `ad_hoc` says that `dockercni add` made it for a container. `path` is the namespace's path if `dockercni add` made
    it for a namespace that belongs to no container, else "". `lost` says that the record is gone, and the rest is known
    from the history. `addresses` and `routes` are those that the namespace has to show while the attachment lives, `up`
    whether the interface has to be up; empty and False if that is not known.
    """

    network: str
    container_id: str
    ifname: str
    netns_id: NetnsId
    complete: bool
    ad_hoc: bool = False
    path: str = ""
    lost: bool = False
    addresses: frozenset[IPAddress] = frozenset()
    routes: frozenset[Destination] = frozenset()
    up: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """Its key in the cache."""
        return self.network, self.container_id, self.ifname
