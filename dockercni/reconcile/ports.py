"""Published ports -> the portMappings capability of one network, with a port of the host for each."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any, Final

from dockercni.errors import DockercniError
from dockercni.kernel import listeners
from dockercni.kernel.listeners import Listener
from dockercni.model import NetworkRequest, PublishedPort

_SOCKETS: Final = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_TRIES: Final = 64
_ANY: Final = {"", "0.0.0.0", "::"}  # noqa: S104  told apart, not bound
_PROXY: Final = "docker-proxy"


class NoFreePort(DockercniError):
    """No port of the host is free for a published port."""

    retry = True


class PortTaken(DockercniError):
    """A port of the host that was asked for leads somewhere else; the message says where."""

    retry = True


@dataclass(frozen=True, slots=True)
class Publisher:
    """Another container with what it publishes, and whether it still lives: a dead one is just being taken back."""

    name: str
    capability_args: Mapping[str, Any]
    lives: Callable[[], bool]


def place(
    requests: Sequence[NetworkRequest], ports: tuple[PublishedPort, ...], declares: Callable[[str], bool]
) -> list[NetworkRequest]:
    """The requests, the first one whose network `declares` the portMappings capability with the container's ports.

    On one only: the same port of the host cannot lead to two addresses.
    """
    carrier = next((request for request in requests if ports and declares(request.network)), None)
    return [replace(request, ports=ports) if request is carrier else request for request in requests]


def fixed(ports: Sequence[PublishedPort]) -> list[PublishedPort]:
    """Those for which one port of the host was asked for."""
    return [port for port in ports if len(port.host_ports) == 1]


def refuse_taken(ports: Sequence[PublishedPort], publishers: Iterable[Publisher], daemon: int | None) -> None:
    """Raise PortTaken for the first fixed port that somebody listens on, or that another container publishes.

    By DNAT it could be taken away from whoever has it, without a word. What the process `daemon` listens on, it holds
    for containers of ours.
    """
    wanted = fixed(ports)
    if not wanted:
        return
    others = list(publishers)
    for position, port in enumerate(wanted):
        number = port.host_ports[0]
        if any(_same(port, mapping) for mapping in mappings(wanted[:position], ())):
            raise PortTaken(f"port {number}/{port.protocol} of the host is asked for twice by this container")
        for other in others:
            if any(_same(port, mapping) for mapping in recorded(other.capability_args)) and other.lives():
                raise PortTaken(f"port {number}/{port.protocol} of the host is published by container {other.name}")
        listener = listeners.find(port.protocol, port.host_ip, number)
        if listener and listener.pid != daemon:
            raise PortTaken(f"port {number}/{port.protocol} of the host is taken: {_words(listener)}")


def mappings(ports: Sequence[PublishedPort], taken: Iterable[tuple[str, int]]) -> list[dict[str, Any]]:
    """The `portMappings` for `ports`: {hostPort, containerPort, protocol, hostIP?}.

    `taken` are (protocol, host port) of other attachments: a port that is published by DNAT is bound by nobody, so the
    kernel cannot tell. It counts only where there is a choice: one fixed port is what was asked for. Raises NoFreePort.
    """
    used = set(taken)
    found = []
    for port in ports:
        host_port = port.host_ports[0] if len(port.host_ports) == 1 else _choose(port, used)
        used.add((port.protocol, host_port))
        mapping = {"hostPort": host_port, "containerPort": port.container_port, "protocol": port.protocol}
        found.append({**mapping, "hostIP": port.host_ip} if port.host_ip else mapping)
    return found


def published(capability_args: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The (protocol, host port) of a recorded attachment."""
    for mapping in recorded(capability_args):
        yield mapping["protocol"], mapping["hostPort"]


def recorded(capability_args: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The `portMappings` of a record, those that are none left out: another runtime may have written anything."""
    listed = capability_args.get("portMappings")
    for mapping in listed if isinstance(listed, list) else ():
        if not isinstance(mapping, dict):
            continue
        protocol, host = mapping.get("protocol") or "tcp", mapping.get("hostIP") or ""
        numbers = mapping.get("hostPort"), mapping.get("containerPort")
        good = isinstance(protocol, str) and _is_address(host)
        if good and all(type(one) is int and 0 < one < 1 << 16 for one in numbers):
            found = {"hostPort": numbers[0], "containerPort": numbers[1], "protocol": protocol.lower()}
            yield {**found, "hostIP": host} if host else found


def _is_address(host: Any) -> bool:
    try:
        return host == "" or bool(isinstance(host, str) and ip_address(host))
    except ValueError:
        return False


def _same(port: PublishedPort, mapping: Mapping[str, Any]) -> bool:
    """Whether a mapping that is recorded gets what `port` is to get."""
    if (mapping["protocol"], mapping["hostPort"]) != (port.protocol, port.host_ports[0]):
        return False
    there = mapping.get("hostIP", "")
    return there == port.host_ip or bool(_ANY & {there, port.host_ip})


def _words(listener: Listener) -> str:
    where = f"[{listener.address}]" if listener.address.version == 6 else str(listener.address)
    who = f"{listener.name} (process {listener.pid})" if listener.name else "a process that is not visible from here"
    if listener.name == _PROXY:
        flags = dict(zip(listener.command, listener.command[1:], strict=False))
        target = f"{flags.get('-container-ip', '?')}:{flags.get('-container-port', '?')}"
        return f"{who} publishes it for {target} on one of Docker's own networks"
    return f"{who} listens on {where}:{listener.port}"


def _choose(port: PublishedPort, used: set[tuple[str, int]]) -> int:
    for candidate in port.host_ports or [0] * _TRIES:
        free = _free(port, candidate)
        if free and (port.protocol, free) not in used:
            return free
    where = f"{port.host_ports[0]}-{port.host_ports[-1]}" if port.host_ports else "any port"
    raise NoFreePort(
        f"no port of the host is free to publish {port.container_port}/{port.protocol} (asked for {where})"
    )


def _free(port: PublishedPort, candidate: int) -> int:
    """The port if it can be bound now, 0 if not; for candidate 0, one that the kernel picks."""
    family = socket.AF_INET6 if ":" in port.host_ip else socket.AF_INET
    with socket.socket(family, _SOCKETS.get(port.protocol, socket.SOCK_STREAM)) as probe:
        try:
            probe.bind((port.host_ip, candidate))
        except OSError:
            return 0
        return int(probe.getsockname()[1])
