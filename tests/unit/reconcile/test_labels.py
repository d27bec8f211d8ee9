"""Labels: from what whoever ran a container said, to the networks that it is to have."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockercni.errors import LabelError
from dockercni.model import Container, NetworkRequest, Unwanted
from dockercni.reconcile.labels import requests


def ask(labels: dict[str, str], attach: str = "all", mode: str = "none") -> tuple[NetworkRequest, ...] | Unwanted:
    """The requests of a container with these labels, which are given without our prefix."""
    full = {f"dockercni.{key}": value for key, value in labels.items()}
    return requests(Container("id", "web", running=True, network_mode=mode, labels=full), attach)


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ({}, [("", "eth0")]),
        ({"enable": "true"}, [("", "eth0")]),
        ({"networks": "a"}, [("a", "eth0")]),
        ({"networks": "a,b"}, [("a", "eth0"), ("b", "eth1")]),
        ({"networks": "a, b"}, [("a", "eth0"), ("b", "eth1")]),
        ({"networks": "a,b@lan0,c"}, [("a", "eth0"), ("b", "lan0"), ("c", "eth2")]),
        ({"networks": "a,a"}, [("a", "eth0"), ("a", "eth1")]),
        ({"networks": "a.b_c-1@x"}, [("a.b_c-1", "x")]),
        ({"hold": "off", "on-failure": "leave"}, [("", "eth0")]),
    ],
)
def test_networks(labels: dict[str, str], wanted: list[tuple[str, str]]) -> None:
    """`networks` lists them in order, with interface names that are given or eth and the position."""
    assert [(request.network, request.ifname) for request in ask(labels)] == wanted


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ({"ip": "10.1.0.9"}, NetworkRequest("", "eth0", ips=(ip_address("10.1.0.9"),))),
        ({"ip": "10.1.0.9, fd00::9"}, NetworkRequest("", "eth0", ips=(ip_address("10.1.0.9"), ip_address("fd00::9")))),
        ({"mac": "02-AA-bb-00-00-01"}, NetworkRequest("", "eth0", mac="02:aa:bb:00:00:01")),
        ({"args": "A=1;B=x y"}, None),
        ({"args": "A=1;B=/x,y"}, NetworkRequest("", "eth0", args=(("A", "1"), ("B", "/x,y")))),
        ({"args": "A="}, NetworkRequest("", "eth0", args=(("A", ""),))),
        ({"networks": "a", "ip": "10.1.0.9"}, NetworkRequest("a", "eth0", ips=(ip_address("10.1.0.9"),))),
        ({"networks": "a", "ip.a": "10.1.0.9"}, NetworkRequest("a", "eth0", ips=(ip_address("10.1.0.9"),))),
        ({"networks": "a.b", "mac.a.b": "02:00:00:00:00:01"}, NetworkRequest("a.b", "eth0", mac="02:00:00:00:00:01")),
    ],
)
def test_details(labels: dict[str, str], found: NetworkRequest | None) -> None:
    """`ip`, `mac` and `args` belong to the one network, named or not."""
    if found is None:
        with pytest.raises(LabelError):
            ask(labels)
    else:
        assert ask(labels) == (found,)


def test_details_of_one_of_two() -> None:
    """With a network's name behind it a label is for that network only."""
    first, second = ask({"networks": "a,b", "ip.b": "10.1.0.9", "mac.a": "02:00:00:00:00:01"})
    assert (first.ips, first.mac) == ((), "02:00:00:00:00:01")
    assert (second.ips, second.mac) == ((ip_address("10.1.0.9"),), "")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"netwroks": "a"}, "did you mean dockercni.networks?"),
        ({"nonsense": "1"}, "unknown label"),
        ({"": "1"}, "unknown label"),
        ({"networks.a": "1"}, "unknown label"),
        ({"ip.": "10.1.0.9"}, "missing after the dot"),
        ({"enable": "True"}, "must be true or false"),
        ({"networks": ""}, '"" is not a network name'),
        ({"networks": "a,"}, '"" is not a network name'),
        ({"networks": "-a"}, '"-a" is not a network name'),
        ({"networks": "a@"}, '"" is not an interface name'),
        ({"networks": "a@sixteen-bytes-xx"}, "is not an interface name"),
        ({"networks": "a@x/y"}, "is not an interface name"),
        ({"networks": "a@.."}, "is not an interface name"),
        ({"networks": "a@lo"}, '"lo" is there already'),
        ({"networks": "a@x,b@x"}, 'two interfaces would be named "x"'),
        ({"networks": "a@eth1,b"}, 'two interfaces would be named "eth1"'),
        ({"ip": "10.1.0.9/24"}, "prefix length"),
        ({"ip": "ten"}, '"ten" is not an IP address'),
        ({"ip": "10.1.0.9,10.1.0.10"}, "two IPv4 addresses"),
        ({"mac": "02:00:00:00:00"}, "not a MAC address"),
        ({"mac": "03:00:00:00:00:00"}, "multicast"),
        ({"mac": "00:00:00:00:00:00"}, "zero address"),
        ({"args": "A"}, '"A" is not KEY=VALUE'),
        ({"args": "A=1;"}, '"" is not KEY=VALUE'),
        ({"args": "A=1;A=2"}, "A stands there twice"),
        ({"args": "A=b=c"}, "is not KEY=VALUE"),
        ({"networks": "a,b", "ip": "10.1.0.9"}, "asks for several networks"),
        ({"networks": "a", "ip.b": "10.1.0.9"}, "does not ask for that network"),
        ({"networks": "a,a", "ip.a": "10.1.0.9"}, "more than once"),
        ({"networks": "a", "ip.a": "10.1.0.9", "ip": "10.1.0.8"}, "says the same thing"),
        ({"ports": "8080:80"}, "not supported yet"),
        ({"aliases": "db"}, "not supported yet"),
    ],
)
def test_errors(labels: dict[str, str], words: str) -> None:
    """What is unknown or malformed is an error that names the label and says what is wrong."""
    with pytest.raises(LabelError) as caught:
        ask(labels)
    assert words in str(caught.value)
    assert caught.value.label.removeprefix("dockercni.") in labels


@pytest.mark.parametrize(
    ("labels", "mode", "attach", "words"),
    [
        ({}, "bridge", "all", "network mode is bridge"),
        ({"dockercni.nonsense": "1"}, "host", "all", "network mode is host"),
        ({"dockercni.enable": "false"}, "none", "all", "enable=false"),
        ({"dockercni.enable": "false", "dockercni.ports": "1"}, "none", "labelled", "enable=false"),
        ({"io.kubernetes.pod.uid": "1"}, "none", "all", "Kubernetes"),
        ({"io.kubernetes.docker.type": "x", "dockercni.networks": "a"}, "none", "all", "Kubernetes"),
        ({"com.hashicorp.nomad.alloc_id": "1"}, "none", "all", "Nomad"),
        ({"other": "1"}, "none", "labelled", "no dockercni label"),
    ],
)
def test_unwanted(labels: dict[str, str], mode: str, attach: str, words: str) -> None:
    """A container that is not ours to attach is unwanted, for a reason in words."""
    found = requests(Container("id", "web", running=True, network_mode=mode, labels=labels), attach)
    assert isinstance(found, Unwanted)
    assert words in found.reason


def test_labelled() -> None:
    """With attach=labelled any label of ours is enough."""
    assert ask({"enable": "true"}, "labelled") == (NetworkRequest("", "eth0"),)


KEYS = st.sampled_from(["enable", "networks", "ip", "ip.a", "mac", "args", "ports", "hold", "x", ""]) | st.text()


@given(st.dictionaries(KEYS, st.sampled_from(["true", "a,b", "10.1.0.9", "02:00:00:00:00:01", "A=1"]) | st.text()))
def test_anything(labels: dict[str, str]) -> None:
    """Whatever stands in labels, the outcome is requests with distinct interfaces, a reason, or a LabelError."""
    try:
        found = ask(labels)
    except LabelError:
        return
    if not isinstance(found, Unwanted):
        assert found
        assert len({request.ifname for request in found}) == len(found)
