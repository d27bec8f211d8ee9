"""Published ports: on which network, on which port of the host."""

from __future__ import annotations

import socket

import pytest

from dockercni.model import NetworkRequest, PublishedPort
from dockercni.reconcile.ports import NoFreePort, mappings, place, published

WEB = PublishedPort(80, host_ports=range(8080, 8081))


def test_place() -> None:
    """All ports go to the first network that declares the capability, or nowhere."""
    requests = [NetworkRequest(name, f"eth{number}") for number, name in enumerate("aba")]
    assert [request.ports for request in place(requests, (WEB,), lambda name: name == "b")] == [(), (WEB,), ()]
    assert [request.ports for request in place(requests, (WEB,), lambda name: name == "a")] == [(WEB,), (), ()]
    assert place(requests, (WEB,), lambda name: False) == requests
    assert place(requests, (), lambda name: True) == requests


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
