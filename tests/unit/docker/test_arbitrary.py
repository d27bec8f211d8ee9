"""Whatever an engine answers, the outcome is a record of ours or one line: never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import docker.errors
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockercni.docker.client import Client, Engine
from dockercni.errors import DockercniError, LabelError
from dockercni.model import Container, Unwanted
from dockercni.reconcile import labels

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())
WORDS = (
    *("Id", "ID", "Name", "Names", "Image", "State", "Config", "HostConfig", "Labels", "ExposedPorts", "PortBindings"),
    *("NetworkMode", "Pid", "Running", "HostIp", "HostPort", "80/tcp", "SecurityOptions", "IPAM", "Subnet", "Action"),
    *("Actor", "timeNano", "PublishAllPorts", "StartedAt", "Options", "ServerVersion"),
)
KEYS = st.one_of(st.sampled_from(WORDS), st.text(max_size=20))
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=30
)
PORT = st.one_of(
    st.sampled_from(["80/tcp", "53/udp", "80", "x", "99999/tcp", "0/tcp", "80-90/tcp", "1/quic", "9" * 5000]),
    st.text(max_size=8),
)
NUMBER = st.one_of(
    st.sampled_from(["", "0", "8080", "8080-8090", "90-80", "70000", "1-99999999999"]), st.text(max_size=8)
)
BINDING = st.fixed_dictionaries({"HostIp": st.sampled_from(["", "::1", "127.0.0.1", "x"]), "HostPort": NUMBER})
LIKELY = st.fixed_dictionaries(
    {"Id": st.text(min_size=1)},
    optional={
        "Name": st.text(),
        "State": st.fixed_dictionaries({"Running": st.booleans(), "Pid": st.integers(0, 2**31)}),
        "Config": st.fixed_dictionaries(
            {
                "Labels": st.dictionaries(st.text(), st.text(), max_size=3),
                "ExposedPorts": st.none() | st.dictionaries(PORT, st.just({}), max_size=3),
            }
        ),
        "HostConfig": st.fixed_dictionaries(
            {
                "PortBindings": st.none()
                | st.dictionaries(PORT, st.none() | st.lists(BINDING, max_size=2), max_size=3),
                "PublishAllPorts": st.booleans(),
            }
        ),
    },
)


class Api:
    """An SDK that answers everything with the same JSON, as it would come off the wire."""

    def __init__(self, answer: object) -> None:
        self.text = json.dumps(answer)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *_args, **_kwargs: json.loads(self.text)

    def events(self, **_kwargs: object) -> Events:
        return Events([json.loads(self.text)])


class Events:
    """A stream of events that can be closed."""

    def __init__(self, items: list[object]) -> None:
        self._items = iter(items)

    def __iter__(self) -> Iterator[object]:
        return self._items

    def close(self) -> None:
        """Nothing is open."""


def client(answer: object) -> Client:
    made = Client("unix:///nowhere/docker.sock")
    made._api = Api(answer)  # type: ignore[assignment]
    return made


def one_line(call: Callable[[], object]) -> object:
    """What the call returns, or None after an error of ours in one line."""
    said = ""
    try:
        return call()
    except DockercniError as error:
        said = str(error)
    assert "\n" not in said
    return None


def _read(one: Client) -> list[object]:
    with one.events(None) as events:
        return list(events)


@settings(max_examples=60)
@given(st.one_of(JSON, LIKELY))
def test_any_answer_is_a_record_or_a_line(answer: object) -> None:
    """Info, inspect, list, networks and events: each is understood or refused."""
    assert isinstance(one_line(client(answer).engine), Engine | None)
    assert isinstance(one_line(lambda: client(answer).container("web")), Container | None)
    one_line(client(answer).running)
    one_line(client(answer).networks)
    one_line(lambda: _read(client(answer)))


@given(LIKELY)
def test_what_inspect_says_is_a_container_with_ports_that_exist(answer: dict[str, Any]) -> None:
    """A port that no host can have is never published."""
    found = one_line(lambda: client(answer).container("web"))
    if isinstance(found, Container):
        for port in found.ports:
            assert 0 < port.container_port < 65536
            assert all(0 < number < 65536 for number in port.host_ports)


LABELS = st.dictionaries(
    st.one_of(
        st.sampled_from(
            ["enable", "networks", "ip", "mac", "args", "ports", "ip.lan", "args.lan", "networks.x", "hold"]
        ).map(lambda kind: f"dockercni.{kind}"),
        st.text().map(lambda text: f"dockercni.{text}"),
        st.text(),
    ),
    st.one_of(
        st.sampled_from(
            ["true", "false", "lan", "lan,wan", "lan@eth1,lan", "10.1.0.5", "fd00::1", "02:00:00:00:00:01"]
        ),
        st.text(),
        st.text(alphabet=",@:;=./-ab01 \u00b2\u0663\x00\n\u20ac"),
        st.text(alphabet="ab\u20ac\x00", min_size=6, max_size=15).map(lambda name: f"lan@{name}"),
    ),
    max_size=6,
)


@settings(max_examples=400)
@given(LABELS, st.sampled_from(["all", "labelled"]))
def test_any_labels_are_requests_or_a_line(given_labels: dict[str, str], attach: str) -> None:
    """Labels give requests that can be carried out, a reason for none, or an error that names one of the labels."""
    container = Container("a" * 64, "web", True, labels=given_labels)
    try:
        wanted = labels.requests(container, attach)
    except LabelError as error:
        assert error.label in given_labels  # noqa: PT017
        return
    if isinstance(wanted, Unwanted):
        assert wanted.reason
        return
    names = [request.ifname for request in wanted]
    assert len(set(names)) == len(names) > 0
    for request in wanted:
        assert 0 < len(request.ifname.encode()) < 16
        assert not set(request.ifname) & set("/: \t\n\0")
        assert len({address.version for address in request.ips}) == len(request.ips)
        for key, value in request.args:
            assert not set(key + value) & set(";=\0\n"), (key, value)


def test_the_sdk_itself_is_not_called_with_nothing() -> None:
    """An empty name is a container that does not exist, not an error of the SDK."""
    assert client({}).container("") is None
    with pytest.raises(docker.errors.NullResource):
        docker.APIClient(version="1.41").inspect_container("")
