"""Turns the engine's answers into our records. Pure. What an answer lacks (API 1.40 to 1.56 differ) has a default."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv6Address, ip_address
from typing import Annotated, Final

import msgspec

from dockercni.model import Container, DNSOptions, PublishedPort

_DISABLED: Final = ("dockercni.enable", "false")
_PORT: Final = re.compile(r"(\d{1,5})(?:/(tcp|udp|sctp))?", re.ASCII)
_RANGE: Final = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)
_PORTS: Final = range(1, 1 << 16)
_USUAL_MTU: Final = 1500
_BRIDGE: Final = "com.docker.network.bridge"


# Ids become parts of file names: what has other ids is no engine to us.
Id = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z", max_length=128)]


class _State(msgspec.Struct):
    Running: bool = False
    Pid: int = 0
    StartedAt: str = ""


class RunConfig(msgspec.Struct):
    Labels: dict[str, str] | None = None
    ExposedPorts: dict[str, dict[str, str]] | None = None
    Hostname: str = ""
    Domainname: str = ""


class _Binding(msgspec.Struct):
    HostIp: str = ""
    HostPort: str = ""


class HostSide(msgspec.Struct):
    NetworkMode: str = ""
    PortBindings: dict[str, list[_Binding] | None] | None = None
    PublishAllPorts: bool = False
    Dns: list[str] | None = None
    DnsSearch: list[str] | None = None
    DnsOptions: list[str] | None = None


class Inspected(msgspec.Struct):
    """The answer to GET /containers/{id}/json, with the fields that we use."""

    Id: Id
    Name: str = ""
    Image: str = ""
    State: _State = msgspec.field(default_factory=_State)
    Config: RunConfig = msgspec.field(default_factory=RunConfig)
    HostConfig: HostSide = msgspec.field(default_factory=HostSide)


class Listed(msgspec.Struct, frozen=True):
    """One element of the answer to GET /containers/json, with the fields that we use."""

    Id: Id
    Names: list[str] = msgspec.field(default_factory=list)
    HostConfig: HostSide = msgspec.field(default_factory=HostSide)

    @property
    def name(self) -> str:
        """Its name, without the slash."""
        return min((name.lstrip("/") for name in self.Names), key=len, default=self.Id[:12])


class _Runtime(msgspec.Struct):
    path: str = ""
    runtimeType: str = ""  # noqa: N815  the engine's name


class Info(msgspec.Struct):
    """The answer to GET /info, with the fields that we use."""

    ID: str = ""
    ServerVersion: str = ""
    DockerRootDir: str = ""
    SecurityOptions: list[str] | None = None
    CgroupDriver: str = ""
    CgroupVersion: str = ""
    DefaultRuntime: str = ""
    Runtimes: dict[str, _Runtime] | None = None

    @property
    def runtimes(self) -> tuple[tuple[str, str], ...]:
        """The name of each runtime, and its program or containerd's name of its kind."""
        return tuple((name, one.path or one.runtimeType) for name, one in sorted((self.Runtimes or {}).items()))


class _ImageConfig(msgspec.Struct):
    Labels: dict[str, str] | None = None


class Image(msgspec.Struct):
    """The answer to GET /images/{id}/json, with the fields that we use."""

    Config: _ImageConfig | None = None


class _Actor(msgspec.Struct):
    ID: Id


class EventLine(msgspec.Struct):
    """One line of the answer to GET /events, with the fields that we use."""

    Action: str
    Actor: _Actor
    timeNano: int  # noqa: N815  the engine's name
    Type: str = "container"


class _Pool(msgspec.Struct):
    Subnet: str = ""


class _IPAM(msgspec.Struct):
    Config: list[_Pool] | None = None


class ListedNetwork(msgspec.Struct):
    """One element of the answer to GET /networks, with the fields that we use."""

    Name: str
    Id: str = ""
    Driver: str = ""
    IPAM: _IPAM | None = None
    Options: dict[str, str] | None = None

    @property
    def subnets(self) -> tuple[str, ...]:
        """Where its addresses come from."""
        return tuple(pool.Subnet for pool in (self.IPAM and self.IPAM.Config) or ())

    @property
    def bridge(self) -> str:
        """The name of its bridge if the user chose one, else ""."""
        return (self.Options or {}).get(f"{_BRIDGE}.name", "")

    @property
    def link(self) -> str:
        """The link of the host that its containers are on; "" for drivers whose networks have none."""
        return (self.bridge or f"br-{self.Id[:12]}") if self.Driver == "bridge" else ""

    @property
    def direct(self) -> tuple[int, ...]:
        """The IP versions in which Docker routes to its containers' addresses, for published ports or all ports."""
        modes = {version: (self.Options or {}).get(f"{_BRIDGE}.gateway_mode_ipv{version}") for version in (4, 6)}
        return tuple(version for version, mode in modes.items() if mode in {"routed", "nat-unprotected"})

    @property
    def host_ip(self) -> str:
        """The host's address of published ports that name none; "" for all addresses."""
        return host_ip((self.Options or {}).get(f"{_BRIDGE}.host_binding_ipv4", ""))

    @property
    def mtu(self) -> int:
        """The MTU of its links if the user chose one; 0 for the default."""
        return mtu((self.Options or {}).get("com.docker.network.driver.mtu", ""))


# msgspec prepares a type at its first use, and crashes where two threads cause that at once: so it happens here
for _kind in (Inspected, Listed, Info, Image, EventLine, ListedNetwork):
    msgspec.json.Decoder(_kind)


def described(inspected: Inspected) -> Container:
    """The container as the rest of the program knows it. One that is restarting does not run."""
    state = inspected.State
    return Container(
        id=inspected.Id,
        name=inspected.Name.lstrip("/"),
        running=state.Running and state.Pid > 0,
        pid=state.Pid,
        started_at=state.StartedAt,
        network_mode=inspected.HostConfig.NetworkMode,
        labels=inspected.Config.Labels or {},
        ports=tuple(_published(inspected)),
        hostname=inspected.Config.Hostname,
        domainname=inspected.Config.Domainname,
        dns=DNSOptions(
            tuple(inspected.HostConfig.Dns or ()),
            tuple(inspected.HostConfig.DnsSearch or ()),
            tuple(inspected.HostConfig.DnsOptions or ()),
        ),
    )


def vetted(container: Container, image: Mapping[str, str]) -> Container:
    """The container without the labels of its image, which the user did not write. Opting out by an image counts."""
    labels = container.labels
    dropped = {key: value for key, value in labels.items() if image.get(key) == value and (key, value) != _DISABLED}
    kept = {key: value for key, value in labels.items() if key not in dropped}
    return replace(container, labels=kept, dropped=dropped, image="")


def _published(inspected: Inspected) -> Iterator[PublishedPort]:
    bindings = inspected.HostConfig.PortBindings or {}
    for port, places in bindings.items():
        for place in places or [_Binding()]:
            if (parsed := _port(port)) is not None:
                yield PublishedPort(*parsed, host_ip=_address(place.HostIp), host_ports=_range(place.HostPort))
    if inspected.HostConfig.PublishAllPorts:
        for port in inspected.Config.ExposedPorts or {}:
            if port not in bindings and (parsed := _port(port)) is not None:
                yield PublishedPort(*parsed)


def _port(text: str) -> tuple[int, str] | None:
    match = _PORT.fullmatch(text)
    return (int(match[1]), match[2] or "tcp") if match and int(match[1]) in _PORTS else None


def host_ip(text: str) -> str:
    """The default address of published ports; "" for 0.0.0.0, which the engine takes for all of IPv6 as well."""
    return "" if (address := _address(text)) == "0.0.0.0" else address  # noqa: S104  compared, not bound


def mtu(text: str | int) -> int:
    """The MTU that the engine's links get; 0 for the default, which the engine reports where nobody chose one."""
    found = int(text) if re.fullmatch("[0-9]{1,5}", str(text), re.ASCII) else 0
    return found if found != _USUAL_MTU else 0


def _address(text: str) -> str:
    """An address in its usual form; IPv4 mapped into IPv6 becomes IPv4, as when it is bound. Other text stays."""
    try:
        address = ip_address(text)
    except ValueError:
        return text
    return str((isinstance(address, IPv6Address) and address.ipv4_mapped) or address)


def _range(text: str) -> range:
    match = _RANGE.fullmatch(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    return range(first, last + 1) if first in _PORTS and last in _PORTS else range(0)
