"""For how long containers that are being started are held."""

from __future__ import annotations

import pytest

from dockercni.linux.hold.holder import Limit
from dockercni.model import Container
from dockercni.reconcile.labels import Holding
from dockercni.reconcile.limits import Limits

ID = "0" * 64


def limit(container: Container, *, attach: str = "all", may_hold: bool = True) -> Limit | None:
    return Limits(Holding(10.0, "leave"), attach, may_hold).of(container)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, Limit(10.0)),
        ({"dockercni.hold": "2s", "dockercni.on-failure": "stop"}, Limit(2.0, kill=True)),
        ({"dockercni.hold": "off"}, Limit(0.0)),
        ({"dockercni.hold": "long"}, Limit(10.0)),  # its look fails, and says so
        ({"dockercni.enable": "false"}, None),
    ],
)
def test_labels(labels: dict[str, str], expected: Limit | None) -> None:
    """The settings say it, and its labels; None for what is not attached."""
    assert limit(Container(ID, "web", running=True, labels=labels)) == expected


def test_not_ours() -> None:
    """What is on another network is left alone, as is what has no label where only those are attached."""
    assert limit(Container(ID, "web", running=True, network_mode="bridge")) is None
    assert limit(Container(ID, "web", running=True), attach="labelled") is None


def test_confined() -> None:
    """Where nothing can be held, it is attached early all the same."""
    assert limit(Container(ID, "web", running=True), may_hold=False) == Limit(0.0)


def test_labels_that_are_not_told_apart_yet() -> None:
    """What may be said by the image only makes the hold longer, until the engine has been asked."""
    labels = {"dockercni.hold": "1h", "dockercni.enable": "false"}
    image = Container(ID, "web", running=True, labels=labels, image="sha256:1")
    assert limit(image) == Limit(3600.0)
    short = Container(ID, "web", running=True, labels={"dockercni.hold": "1s"}, image="sha256:1")
    assert limit(short) == Limit(10.0)
    assert limit(Container(ID, "web", running=True, network_mode="bridge", image="sha256:1")) is None
