"""Published ports -> the portMappings capability of one network, with a port of the host for each."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any, Final, NamedTuple, TypeVar

from dockercni.cni import NetworkList
from dockercni.errors import DockercniError, Retry
from dockercni.linux import listeners
from dockercni.linux.listeners import Listener, Listeners
from dockercni.model import NetworkRequest, PublishedPort

T = TypeVar("T")

_TRIES: Final = 64
_ANY: Final = {4: "0.0.0.0", 6: "::"}  # noqa: S104  stands for all addresses of the host
_BOTH: Final = frozenset({4, 6})
_BESIDE_THE_HOST: Final = {"macvlan", "ipvlan"}
_SHOWN: Final = 5  # ports that a message names
_PROXY: Final = "docker-proxy"

TryClaim = Callable[[str, int], bool]  # claims a (protocol, port of the host), unless another ADD holds it


class NoFreePort(DockercniError):
    """No port of the host is free for a published port."""

    retry = Retry.OFTEN


class PortTaken(DockercniError):
    """A requested port of the host is in use; the message says by what."""

    retry = Retry.OFTEN


class PortUnclear(DockercniError):
    """The kernel does not say whether a port of the host is free; the message says why."""

    retry = Retry.OFTEN


class Place(NamedTuple):
    """A port of the host, at one of its addresses ("0.0.0.0" and "::" for all of one family)."""

    protocol: str
    address: str
    number: int


@dataclass(frozen=True, slots=True)
class Publisher:
    """Another container, what it publishes, and whether it still runs: if not, its DEL is under way.

    `versions` are the IP versions in which it can be reached.
    """

    name: str
    capability_args: Mapping[str, Any]
    lives: Callable[[], bool]
    versions: frozenset[int] = _BOTH


def place(
    requests: Sequence[NetworkRequest],
    ports: tuple[PublishedPort, ...],
    obstacle: Callable[[str], str],
    host_ip: str = "",
) -> list[NetworkRequest]:
    """The requests, the first one to whose network there is no `obstacle` with the container's ports.

    Only one of them: a port of the host cannot lead to two addresses. If all have an obstacle, the first request says
    why. Ports without an address get `host_ip`, the engine's default.
    """
    if not ports or not requests:
        return list(requests)
    obstacles = [obstacle(request.network) for request in requests]
    if all(obstacles):
        reason = f"{summary(ports)} not published: {'; '.join(dict.fromkeys(obstacles))}"
        return [replace(requests[0], unpublished=reason), *requests[1:]]
    addressed = tuple(port if port.host_ip else replace(port, host_ip=host_ip) for port in ports)
    carrier = obstacles.index("")
    return [replace(each, ports=addressed) if index == carrier else each for index, each in enumerate(requests)]


def obstacle(network: NetworkList) -> str:
    """Why a network cannot publish ports; "" if it can."""
    kind = network.plugins[0].type
    if kind in _BESIDE_THE_HOST:
        return f"network {network.name} is {kind}, whose containers this host does not reach: publish on a bridge"
    if "portMappings" not in network.capabilities:
        return f"network {network.name} has no plugin with the capability portMappings: add portmap to it"
    return ""


def unserved(capability_args: Mapping[str, Any], versions: Collection[int]) -> str:
    """Which ports of an attachment with addresses of these IP versions lead nowhere, and why; "" if all lead to it."""
    found: dict[str, list[str]] = {}
    for mapping in recorded(capability_args):
        if host := mapping.get("hostIP", ""):
            address = ip_address(host)
            where = f"[{host}]" if address.version == 6 else host
            port = f"{where}:{mapping['hostPort']}/{mapping['protocol']}"
            if address.version not in versions:
                found.setdefault(f"the container has no IPv{address.version} address", []).append(port)
            elif address.version == 6 and address.is_loopback:
                found.setdefault("IPv6 routes nothing from there to a container", []).append(port)
    return "; ".join(f"{_some(ports)} not published: {reason}" for reason, ports in found.items())


def summary(ports: Sequence[PublishedPort]) -> str:
    """The first of those ports, in words."""
    return _some([f"{port.container_port}/{port.protocol}" for port in ports])


def _some(words: Sequence[str]) -> str:
    return f"{', '.join(words[:_SHOWN])}{', ...' if len(words) > _SHOWN else ''}"


def shown(places: Iterable[tuple[Place, int]], *, fold: bool = False) -> list[str]:
    """Where an attachment is reached, as `docker ps` has it; with `fold` a run of consecutive ports is one."""
    runs: list[tuple[Place, int, int]] = []  # the first one, where it leads, and how many there are
    for place, to in sorted(places):
        first, leads, number = runs[-1] if runs else (place, to, 0)
        if fold and number and (place, to) == (first._replace(number=first.number + number), leads + number):
            runs[-1] = (first, leads, number + 1)
        else:
            runs.append((place, to, 1))
    return [_run(*run) for run in runs]


def _run(place: Place, to: int, number: int) -> str:
    address = f"[{place.address}]" if ":" in place.address else place.address
    last = [f"-{each + number - 1}" if number > 1 else "" for each in (place.number, to)]
    return f"{address}:{place.number}{last[0]}->{to}{last[1]}/{place.protocol}"


def fixed(ports: Sequence[PublishedPort]) -> list[PublishedPort]:
    """Those for which one port of the host was asked for."""
    return [port for port in ports if len(port.host_ports) == 1]


def refuse_taken(ports: Sequence[PublishedPort], publishers: Iterable[Publisher], daemon: int | None) -> None:
    """Raise PortTaken for the first fixed port that a process listens on, or that another container publishes.

    DNAT would silently redirect a port that is in use. The process `daemon` (None: no daemon runs) holds ports for our
    containers, so its sockets do not count. IPv4 and IPv6 are separate: 0.0.0.0 and [::] may lead to two containers.
    Raises PortUnclear.
    """
    wanted = fixed(ports)
    if not wanted:
        return
    theirs: dict[tuple[str, int], list[tuple[str, Publisher]]] = {
        (port.protocol, port.host_ports[0]): [] for port in wanted
    }
    for other in publishers:
        for mapping in recorded(other.capability_args):
            if (key := (mapping["protocol"], mapping["hostPort"])) in theirs:
                theirs[key].append((mapping.get("hostIP", ""), other))
    ours: dict[tuple[str, int], list[str]] = {}
    listening = listeners.Listeners(daemon)
    for port in wanted:
        key = (port.protocol, port.host_ports[0])
        words = f"port {key[1]}/{port.protocol} of the host"
        if any(_meet(port.host_ip, host) for host in ours.setdefault(key, [])):
            raise PortTaken(f"{words} is asked for twice by this container")
        ours[key].append(port.host_ip)
        for host, other in theirs[key]:
            if _meet(port.host_ip, host, other.versions) and other.lives():
                raise PortTaken(f"{words} is published by container {other.name}")
        if listener := _ask(listening.find, port, key[1]):
            raise PortTaken(f"{words} is taken: {_words(listener)}")


def mappings(
    ports: Sequence[PublishedPort],
    taken: Iterable[tuple[str, int]],
    claim: TryClaim = lambda *_: True,
    daemon: int | None = None,
) -> list[dict[str, Any]]:
    """The `portMappings` for `ports`: {hostPort, containerPort, protocol, hostIP?}.

    `taken` are (protocol, host port) of other attachments: no socket is bound to a port published by DNAT, so the
    kernel reports it as free. They count only where there is a choice; a fixed port is taken as it is. What is chosen
    is claimed. Raises NoFreePort, PortUnclear.
    """
    used = set(taken)
    found = []
    listening = listeners.Listeners(daemon)
    for port in ports:
        host_port = port.host_ports[0] if len(port.host_ports) == 1 else _choose(port, used, claim, listening)
        used.add((port.protocol, host_port))
        mapping = {"hostPort": host_port, "containerPort": port.container_port, "protocol": port.protocol}
        found.append({**mapping, "hostIP": port.host_ip} if port.host_ip else mapping)
    return found


def published(capability_args: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The (protocol, host port) of a recorded attachment."""
    for mapping in recorded(capability_args):
        yield mapping["protocol"], mapping["hostPort"]


def places(capability_args: Mapping[str, Any], versions: Collection[int]) -> Iterator[tuple[Place, int]]:
    """Where an attachment with addresses of these IP versions is reached, each place with the port that it leads to."""
    for mapping in recorded(capability_args):
        host = mapping.get("hostIP", "")
        for version in sorted(versions):
            if not host or ip_address(host).version == version:
                yield Place(mapping["protocol"], host or _ANY[version], mapping["hostPort"]), mapping["containerPort"]


def recorded(capability_args: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The valid `portMappings` of a record: another runtime may have written anything."""
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


def _meet(wanted: str, held: str, versions: frozenset[int] = _BOTH) -> bool:
    """Whether a packet to a port at `wanted` may also match `held`, which is reached in these IP versions."""
    one, two = (ip_address(each) if each else None for each in (wanted, held))
    shared = versions & ({one.version} if one else _BOTH) & ({two.version} if two else _BOTH)
    return bool(shared) and (not one or not two or one.is_unspecified or two.is_unspecified or one == two)


def _ask(ask: Callable[[str, str, int], T], port: PublishedPort, number: int) -> T:
    try:
        return ask(port.protocol, port.host_ip, number)
    except (OSError, ValueError) as error:
        raise _unclear(port, number, error) from error


def _unclear(port: PublishedPort, number: int, error: OSError | ValueError) -> PortUnclear:
    reason = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else str(error)
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        reason += "; dockercni needs CAP_NET_BIND_SERVICE for ports below 1024"
    which = f"port {number}/{port.protocol}" if number else f"any {port.protocol} port"
    return PortUnclear(f"it is not clear whether {which} of the host is free: {reason}")


def _words(listener: Listener) -> str:
    where = f"[{listener.address}]" if listener.address.version == 6 else str(listener.address)
    who = f"{listener.name} (process {listener.pid})" if listener.name else "a process that is not visible from here"
    if listener.name == _PROXY:
        flags = dict(zip(listener.command, listener.command[1:], strict=False))
        target = f"{flags.get('-container-ip', '?')}:{flags.get('-container-port', '?')}"
        return f"{who} publishes it for {target} on one of Docker's own networks"
    return f"{who} listens on {where}:{listener.port}"


def _choose(port: PublishedPort, used: set[tuple[str, int]], claim: TryClaim, listening: Listeners) -> int:
    for candidate in port.host_ports or [0] * _TRIES:
        number = candidate or _pick(port)
        unused = (port.protocol, number) not in used and (not candidate or _ask(listening.free, port, number))
        if unused and claim(port.protocol, number):
            return number
    where = f"{port.host_ports[0]}-{port.host_ports[-1]}" if port.host_ports else "any port"
    raise NoFreePort(
        f"no port of the host is free to publish {port.container_port}/{port.protocol} (asked for {where})"
    )


def _pick(port: PublishedPort) -> int:
    try:
        return listeners.pick(port.protocol, port.host_ip)
    except OSError as error:
        raise _unclear(port, 0, error) from error
