"""Published ports: on which network, on which port of the host."""

from __future__ import annotations

import json
import socket
from dataclasses import replace

import pytest

from dockercni.cni import NetworkList, parse_list
from dockercni.model import NetworkRequest, PublishedPort
from dockercni.reconcile.ports import NoFreePort, mappings, obstacle, place, places, published, shown, unserved

WEB = PublishedPort(80, host_ports=range(8080, 8081))


def test_place() -> None:
    """All ports go to the first network that can publish them, or nowhere, and then the first one says why."""
    requests = [NetworkRequest(name, f"eth{number}") for number, name in enumerate("aba")]
    assert [request.ports for request in place(requests, (WEB,), lambda name: "" if name == "b" else "no")] == [
        (),
        (WEB,),
        (),
    ]
    assert [request.ports for request in place(requests, (WEB,), lambda name: "" if name == "a" else "no")] == [
        (WEB,),
        (),
        (),
    ]
    nowhere = place(requests, (WEB, replace(WEB, container_port=81)), lambda name: f"{name} cannot")
    assert [request.unpublished for request in nowhere] == [
        "80/tcp, 81/tcp not published: a cannot; b cannot",
        "",
        "",
    ]
    assert not any(request.ports for request in nowhere)
    assert place(requests, (), lambda name: "no") == requests


def test_default_address() -> None:
    """Ports without an address get the engine's default one; an address that was typed stays."""
    typed = replace(WEB, host_ip="::")
    (request,) = place([NetworkRequest("a", "eth0")], (WEB, typed), lambda name: "", "127.0.0.1")
    assert [port.host_ip for port in request.ports] == ["127.0.0.1", "::"]


def network(kind: str, *capabilities: str) -> NetworkList:
    plugin = {"type": "portmap", "capabilities": dict.fromkeys(capabilities, True)}
    return parse_list(json.dumps({"cniVersion": "1.0.0", "name": "lan", "plugins": [{"type": kind}, plugin]}).encode())


def test_obstacle() -> None:
    """A network publishes ports if a plugin takes them and the host reaches its containers."""
    assert obstacle(network("bridge", "portMappings")) == ""
    assert "no plugin with the capability portMappings" in obstacle(network("bridge", "ips"))
    assert "network lan is macvlan, whose containers this host does not reach" in obstacle(
        network("macvlan", "portMappings")
    )


def mapping(number: int, to: int, host: str = "") -> dict[str, object]:
    found = {"hostPort": number, "containerPort": to, "protocol": "tcp"}
    return {**found, "hostIP": host} if host else found


def test_shown() -> None:
    """Ports are shown as docker ps has them: each family that leads somewhere, and runs of ports as one if asked."""
    args = {"portMappings": [mapping(8080, 80), mapping(8081, 81), mapping(8082, 80), mapping(53, 53, "::1")]}
    assert shown(places(args, {4})) == ["0.0.0.0:8080->80/tcp", "0.0.0.0:8081->81/tcp", "0.0.0.0:8082->80/tcp"]
    assert shown(places(args, {4, 6}), fold=True) == [
        "0.0.0.0:8080-8081->80-81/tcp",
        "0.0.0.0:8082->80/tcp",
        "[::]:8080-8081->80-81/tcp",
        "[::]:8082->80/tcp",
        "[::1]:53->53/tcp",
    ]


def test_unserved() -> None:
    """An address of a family that the container lacks, and [::1], lead nowhere; without an address none is promised."""
    args = {
        "portMappings": [mapping(80, 80), mapping(81, 80, "::"), mapping(82, 80, "::1"), mapping(83, 80, "0.0.0.0")]
    }
    assert unserved({"portMappings": [mapping(80, 80)]}, {4}) == ""
    assert unserved(args, {4}) == "[::]:81/tcp, [::1]:82/tcp not published: the container has no IPv6 address"
    assert unserved(args, {4, 6}) == "[::1]:82/tcp not published: IPv6 routes nothing from there to a container"


@pytest.mark.parametrize(
    ("port", "mapping"),
    [
        (WEB, {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}),
        (
            PublishedPort(53, "udp", "127.0.0.1", range(53, 54)),
            {"hostPort": 53, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"},
        ),
        (
            PublishedPort(9, "sctp", "::1", range(9, 10)),
            {"hostPort": 9, "containerPort": 9, "protocol": "sctp", "hostIP": "::1"},
        ),
    ],
)
def test_one_port(port: PublishedPort, mapping: dict[str, object]) -> None:
    """One port that was named is taken as it is, whoever else uses it."""
    assert mappings([port], [("tcp", 8080)]) == [mapping]


def free_pair() -> tuple[int, int]:
    """Two neighbouring ports that are free now."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("", port + 1))
            except OSError:
                continue
            return port, port + 1


def test_range() -> None:
    """Of a range the first port is taken that nobody listens on and no other attachment has."""
    low, high = free_pair()
    port = PublishedPort(80, host_ports=range(low, high + 1))
    assert mappings([port], [])[0]["hostPort"] == low
    assert mappings([port], [("tcp", low)])[0]["hostPort"] == high
    assert mappings([port], [("udp", low)])[0]["hostPort"] == low
    with pytest.raises(NoFreePort, match=rf"80/tcp \(asked for {low}-{high}\)") as caught:
        mappings([port], [("tcp", low), ("tcp", high)])
    assert caught.value.retry
    with socket.socket() as other:
        other.bind(("", low))
        assert mappings([port], [])[0]["hostPort"] == high


def test_two_of_one_range() -> None:
    """Two ports of one container never get the same port of the host."""
    low, high = free_pair()
    ports = [PublishedPort(number, host_ports=range(low, high + 1)) for number in (80, 81)]
    assert [mapping["hostPort"] for mapping in mappings(ports, [])] == [low, high]


def test_any() -> None:
    """Where no port was named the kernel picks one, each time another."""
    found = {mapping["hostPort"] for mapping in mappings([PublishedPort(number) for number in range(1, 20)], [])}
    assert len(found) == 19
    assert all(port >= 1024 for port in found)


def test_published() -> None:
    """The ports of a recorded attachment are read back from its capability arguments."""
    found = mappings([WEB, PublishedPort(53, "udp", host_ports=range(53, 54))], [])
    assert list(published({"portMappings": found})) == [("tcp", 8080), ("udp", 53)]
    assert list(published({})) == []
