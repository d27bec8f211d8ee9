"""What the engine answers, as our records; answers of API 1.40 to 1.56 alike."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dockercni.docker.api import Inspected, Listed, described, vetted
from dockercni.model import Container, PublishedPort


def inspect(**changes: Any) -> Container:
    """The container of an answer like the engine's, with changes to its HostConfig, Config or State."""
    answer = {
        "Id": "0123456789abcdef",
        "Name": "/web",
        "Image": "sha256:x",
        "State": {"Status": "running", "Running": True, "Pid": 42, "StartedAt": "2026-01-01T00:00:00Z"},
        "Config": {"Labels": {"a": "b"}, "ExposedPorts": None, "Hostname": "x"},
        "HostConfig": {"NetworkMode": "none", "PortBindings": {}},
    }
    for key, value in changes.items():
        answer[key] = answer[key] | value  # type: ignore[operator]
    return described(msgspec.convert(answer, Inspected, strict=False))


def test_container() -> None:
    """Id, name without its slash, process, start, network mode and labels."""
    assert inspect() == Container(
        "0123456789abcdef", "web", True, 42, "2026-01-01T00:00:00Z", "none", {"a": "b"}, (), hostname="x"
    )


def test_sparse() -> None:
    """Whatever an answer lacks has a default, and null is as good as absent."""
    assert described(msgspec.convert({"Id": "x"}, Inspected)).running is False
    assert inspect(Config={"Labels": None}, HostConfig={"PortBindings": None}).labels == {}


@pytest.mark.parametrize(
    ("state", "running"),
    [
        ({}, True),
        ({"Paused": True}, True),
        ({"Running": False, "Pid": 0}, False),
        ({"Running": True, "Restarting": True, "Pid": 0}, False),
    ],
)
def test_running(state: dict[str, Any], running: bool) -> None:
    """A container that is between two lives has no process, and does not run."""
    assert inspect(State=state).running is running


@pytest.mark.parametrize(
    ("bindings", "ports"),
    [
        ({"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}, [PublishedPort(80, "tcp", "", range(8080, 8081))]),
        (
            {"53/udp": [{"HostIp": "127.0.0.1", "HostPort": "53"}]},
            [PublishedPort(53, "udp", "127.0.0.1", range(53, 54))],
        ),
        ({"80": [{"HostPort": "8080"}]}, [PublishedPort(80, "tcp", "", range(8080, 8081))]),
        ({"9/sctp": [{"HostIp": "::1", "HostPort": "9"}]}, [PublishedPort(9, "sctp", "::1", range(9, 10))]),
        ({"80/tcp": [{"HostIp": "", "HostPort": ""}]}, [PublishedPort(80)]),
        ({"80/tcp": [{"HostIp": "", "HostPort": "0"}]}, [PublishedPort(80)]),
        ({"80/tcp": [{"HostPort": "9000-9002"}]}, [PublishedPort(80, "tcp", "", range(9000, 9003))]),
        ({"80/tcp": None}, [PublishedPort(80)]),
        ({"80/tcp": []}, [PublishedPort(80)]),
        (
            {"80/tcp": [{"HostPort": "1"}, {"HostIp": "::", "HostPort": "2"}]},
            [PublishedPort(80, "tcp", "", range(1, 2)), PublishedPort(80, "tcp", "::", range(2, 3))],
        ),
        ({"nonsense": [{"HostPort": "1"}], "80/xyz": [{"HostPort": "1"}]}, []),
    ],
)
def test_ports(bindings: dict[str, Any], ports: list[PublishedPort]) -> None:
    """Each binding is one published port: on one port, on one of a range, or on any."""
    assert list(inspect(HostConfig={"PortBindings": bindings}).ports) == ports


def test_publish_all() -> None:
    """`-P` publishes every exposed port that is not bound anyway; without it exposed ports are not published."""
    exposed = {"ExposedPorts": {"80/tcp": {}, "53/udp": {}}}
    bindings = {"80/tcp": [{"HostPort": "8080"}]}
    assert inspect(Config=exposed).ports == ()
    found = inspect(Config=exposed, HostConfig={"PublishAllPorts": True, "PortBindings": bindings}).ports
    assert found == (PublishedPort(80, "tcp", "", range(8080, 8081)), PublishedPort(53, "udp"))


@pytest.mark.parametrize(
    ("labels", "image", "left"),
    [
        ({"a": "1"}, {}, {"a": "1"}),
        ({"a": "1", "b": "2"}, {"a": "1"}, {"b": "2"}),
        ({"a": "mine"}, {"a": "1"}, {"a": "mine"}),
        ({"dockercni.enable": "false"}, {"dockercni.enable": "false"}, {"dockercni.enable": "false"}),
        ({"dockercni.enable": "true"}, {"dockercni.enable": "true"}, {}),
    ],
)
def test_labels_of_the_image(labels: dict[str, str], image: dict[str, str], left: dict[str, str]) -> None:
    """Labels that came with the image are dropped, except for opting out."""
    container = vetted(Container("x", "x", running=True, labels=labels, image="sha256:x"), image)
    assert (container.labels, container.image) == (left, "")
    assert {**container.labels, **container.dropped} == labels


@pytest.mark.parametrize(
    ("names", "name"),
    [(["/web"], "web"), (["/other/alias", "/web"], "web"), ([], "0123456789ab")],
)
def test_listed_name(names: list[str], name: str) -> None:
    """The list call's names include links' aliases; the container's own is the shortest."""
    assert Listed("0123456789abcdef", names).name == name
