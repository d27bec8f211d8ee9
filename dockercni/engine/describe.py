"""From the engine's answers to our records. Pure; what an answer lacks (API 1.40 to 1.56 differ) has a default."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from dockercni.model import Container, PublishedPort

_DISABLED: Final = ("dockercni.enable", "false")
_PORT: Final = re.compile(r"(\d+)(?:/(tcp|udp|sctp))?", re.ASCII)
_RANGE: Final = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)


class _State(msgspec.Struct):
    Running: bool = False
    Pid: int = 0
    StartedAt: str = ""


class RunConfig(msgspec.Struct):
    Labels: dict[str, str] | None = None
    ExposedPorts: dict[str, dict[str, str]] | None = None


class _Binding(msgspec.Struct):
    HostIp: str = ""
    HostPort: str = ""


class HostSide(msgspec.Struct):
    NetworkMode: str = ""
    PortBindings: dict[str, list[_Binding] | None] | None = None
    PublishAllPorts: bool = False


class Inspected(msgspec.Struct):
    """What GET /containers/{id}/json says, as far as we use it."""

    Id: str
    Name: str = ""
    Image: str = ""
    State: _State = msgspec.field(default_factory=_State)
    Config: RunConfig = msgspec.field(default_factory=RunConfig)
    HostConfig: HostSide = msgspec.field(default_factory=HostSide)


class Listed(msgspec.Struct, frozen=True):
    """One element of what GET /containers/json says, as far as we use it."""

    Id: str
    Names: list[str] = msgspec.field(default_factory=list)
    HostConfig: HostSide = msgspec.field(default_factory=HostSide)

    @property
    def name(self) -> str:
        """Its name, without the slash."""
        return min((name.lstrip("/") for name in self.Names), key=len, default=self.Id[:12])


def described(inspected: Inspected) -> Container:
    """The container as the rest of the program knows it. One that is between two lives (restarting) does not run."""
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
    )


def without_image_labels(labels: Mapping[str, str], image: Mapping[str, str]) -> dict[str, str]:
    """The labels that did not come with the image: who made an image is not who runs it. Opting out may stay."""
    return {key: value for key, value in labels.items() if image.get(key) != value or (key, value) == _DISABLED}


def _published(inspected: Inspected) -> Iterator[PublishedPort]:
    bindings = inspected.HostConfig.PortBindings or {}
    for port, places in bindings.items():
        for place in places or [_Binding()]:
            if (parsed := _port(port)) is not None:
                yield PublishedPort(*parsed, host_ip=place.HostIp, host_ports=_range(place.HostPort))
    if inspected.HostConfig.PublishAllPorts:
        for port in inspected.Config.ExposedPorts or {}:
            if port not in bindings and (parsed := _port(port)) is not None:
                yield PublishedPort(*parsed)


def _port(text: str) -> tuple[int, str] | None:
    match = _PORT.fullmatch(text)
    return (int(match[1]), match[2] or "tcp") if match else None


def _range(text: str) -> range:
    match = _RANGE.fullmatch(text)
    if not match or int(match[1]) == 0:
        return range(0)
    return range(int(match[1]), int(match[2] or match[1]) + 1)
