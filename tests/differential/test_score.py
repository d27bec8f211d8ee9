"""What the score of broken keys is made of."""

from __future__ import annotations

from typing import Any

import pytest

from dockercni.cni.runner import PluginCall
from dockercni.plugins import skeleton
from dockercni.plugins.table import PLUGINS
from tests.differential.score import allowed, paths, seam
from tests.differential.score.breakage import ANY, Breakage
from tests.differential.score.record import Record

CONF: dict[str, Any] = {
    "Ipam": {"ranges": [[{"subnet": "a", "gateway": "b"}], [{"SUBNET": "c"}]]},
    "prevResult": {"ips": [1]},
    "mtu": None,
}
SUBNET = ("ipam", "ranges", "[]", "[]", "subnet")


def test_present() -> None:
    """Keys in any case, at any depth, without those that hold null or are another plugin's."""
    found = [paths.shown(path) for path, _ in paths.present(CONF)]
    subnet, gateway = "ipam.ranges[][].subnet", "ipam.ranges[][].gateway"
    assert found == ["ipam", "ipam.ranges", subnet, gateway, subnet, "prevresult"]


def test_broken() -> None:
    """A key is dropped or altered wherever it is, and nothing else is changed."""
    assert paths.without(CONF, SUBNET) == {**CONF, "Ipam": {"ranges": [[{"gateway": "b"}], [{}]]}}
    altered = paths.altered(CONF, SUBNET, "C", "d")
    assert altered == {**CONF, "Ipam": {"ranges": [[{"subnet": "a", "gateway": "b"}], [{"SUBNET": "d"}]]}}
    assert paths.without(CONF, ("ipam", "[]", "x")) == paths.without(CONF, ("mtu", "x")) == CONF


def test_watched() -> None:
    """A configuration notes which keys are asked for, also those that it does not have."""
    asked: list[str] = []
    seen = seam.watched(CONF, (), lambda path: asked.append(paths.shown(path)))
    assert seen == CONF
    assert "subnet" in seen["Ipam"]["ranges"][0][0]
    assert "txQLen" not in seen
    assert asked == ["Ipam.ranges[][].subnet", "txQLen"]


def test_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DEL that succeeds does not make a case one in which the plugin served such a configuration; an ADD does."""
    noted: list[str] = []
    monkeypatch.setattr(skeleton, "serve", lambda *_, **__: None)
    seam._wrap_serving(lambda what, plugin, path, value: noted.append(f"{what} {plugin} {paths.shown(path)} {value}"))
    serve: Any = skeleton.serve
    for verb, key in (("DEL", "mtu"), ("ADD", "vlan")):
        serve(None, (), PluginCall("bridge", verb, {key: "x"}, {}), None)
    assert "serves bridge vlan x" in noted
    assert "serves bridge mtu x" not in noted


@pytest.mark.parametrize("plugin", PLUGINS)
def test_allowed(plugin: str) -> None:
    """Every plugin says which keys it knows; those of loopback are the common ones."""
    assert bool(allowed.keys_of(plugin)) == (plugin != "loopback")


def test_record() -> None:
    """What can be broken comes from allow-lists and from what is read; cases with little else come first."""
    lines = [
        '["reads", "a", "bridge", ["args", "cni", "mac"], null]',
        '["reads", "a", "bridge", ["isGateway"], null]',
        '["serves", "big", "firewall", ["ingresspolicy"], "Open"]',
        '["serves", "big", "firewall", ["prevresult"], null]',
        '["serves", "small", "firewall", ["ingresspolicy"], "open"]',
        '["has", "refused", "firewall", ["ingresspolicy"], "open"]',
        '["has", "fake", "fake", ["key"], null]',
    ]
    record = Record.of(lines)
    names = {str(each): each for each in record.breakages()}
    assert {"bridge: args.cni.mac", "bridge: isGateway", f"{ANY}: name"} <= set(names)
    assert names["bridge: mtu"].how == "refused"
    policy = names['firewall: ingressPolicy = "open"']
    assert record.cases(policy, served=True) == ["small", "big"]
    assert record.cases(policy, served=False) == ["refused"]
    assert record.cases(names['firewall: ingressPolicy = "isolated"'], served=True) == []
    assert Breakage.decode(policy.encode()) == policy
