"""ADD as libcni does it: numbers 1 to 8 of the conformance list."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockercni.cni import Cache, CacheError, CNIError, InvalidParameters, PluginError, PluginNotFound, Runtime
from tests.unit.cni.lab import ID, NETNS, VERSIONS, FakeRunner, Lab, attachment, network, result


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A runtime over recording executables."""
    return Lab(tmp_path)


@pytest.mark.parametrize("version", VERSIONS)
def test_results_are_chained(lab: Lab, version: str) -> None:
    """H1: of three plugins the first gets no prevResult, the others their predecessor's, and the last is returned."""
    second = result(version, "198.51.100.2/24")
    third = result(version, "203.0.113.2/24", vendor={"unknown": 2**60})
    net = network(
        lab.plugin("one"),
        lab.plugin("two", noop={"ADD": {"print": json.dumps(second)}}),
        lab.plugin("three", noop={"ADD": {"print": json.dumps(third)}}),
        version=version,
    )
    made = lab.runtime.add(net, attachment())
    one, two, three = lab.calls
    assert "prevResult" not in one.stdin
    assert two.stdin["prevResult"]["cniVersion"] == version
    assert three.stdin["prevResult"] == second
    assert made.result == third
    for call in lab.calls:
        assert (call.stdin["name"], call.stdin["cniVersion"]) == ("net", version)
        assert call.env == {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": ID,
            "CNI_NETNS": NETNS,
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": "",
            "CNI_PATH": str(lab.bin),
        }


@pytest.mark.parametrize(
    ("declared", "supplied", "reaches"),
    [
        ({"mac": True, "ips": True}, {"mac": "02:00:00:00:00:01", "bandwidth": {}}, {"mac": "02:00:00:00:00:01"}),
        ({"mac": False, "ips": True}, {"mac": "02:00:00:00:00:01"}, None),
        ({"mac": True}, {}, None),
        (None, {"mac": "02:00:00:00:00:01"}, None),
        ({"big": True}, {"big": 2**63 - 1}, {"big": 2**63 - 1}),
    ],
)
def test_capabilities_are_an_intersection(lab: Lab, declared: Any, supplied: Any, reaches: Any) -> None:
    """H2: only what is declared and supplied reaches runtimeConfig; with nothing the key is absent."""
    keys = {} if declared is None else {"capabilities": declared}
    lab.runtime.add(network(lab.plugin("one", **keys)), attachment(capability_args=supplied))
    assert lab.calls[0].stdin.get("runtimeConfig") == reaches
    assert lab.calls[0].stdin.get("capabilities") == declared


def test_keys_of_the_runtime_stand_alone(lab: Lab) -> None:
    """H2: the runtime's keys replace those that the configuration spells in another case, for plugins know no case."""
    one = lab.plugin("one", NAME="other", CNIversion="0.1.0", RuntimeConfig={"x": 1}, capabilities={"mac": True})
    lab.runtime.add(network(one), attachment(capability_args={"mac": "02:00:00:00:00:01"}))
    stdin = lab.calls[0].stdin
    keys = [key for key in stdin if key.lower() in {"name", "cniversion", "runtimeconfig"}]
    assert sorted(keys) == ["cniVersion", "name", "runtimeConfig"]
    assert stdin["name"] == "net"


def test_errors_of_plugins_survive(lab: Lab) -> None:
    """H3: code, msg and details of a plugin's error are those of the error that is raised."""
    failing = {"ADD": {"fail": {"code": 142, "msg": "no room", "details": "at all"}, "stderr": "noise"}}
    with pytest.raises(PluginError) as error:
        lab.runtime.add(network(lab.plugin("one", noop=failing)), attachment())
    assert (error.value.code, error.value.msg, error.value.details) == (142, "no room", "at all")
    assert error.value.stderr == "noise"
    assert str(error.value) == 'plugin "one" failed (add): no room; at all'


def test_an_unwritable_cache_fails_add_before_anything_runs(lab: Lab) -> None:
    """H4: ADD fails if its result cannot be recorded; unlike libcni's it fails before the first plugin runs."""
    lab.cache.directory.write_text("not a directory")
    with pytest.raises(CacheError, match="cannot write"):
        lab.runtime.add(network(lab.plugin("one")), attachment())
    assert lab.calls == []


def test_a_failing_chain_leaves_no_cache(lab: Lab) -> None:
    """H5: when the second plugin fails nothing is cached; unlike libcni's ADD, ours runs DEL over the list at once."""
    net = network(lab.plugin("one"), lab.plugin("two", noop={"ADD": {"fail": {"code": 7}}}), lab.plugin("three"))
    with pytest.raises(PluginError):
        lab.runtime.add(net, attachment())
    assert lab.cached == []
    assert lab.order == [("one", "ADD"), ("two", "ADD"), ("three", "DEL"), ("two", "DEL"), ("one", "DEL")]


def test_what_cannot_be_taken_back_stays_recorded(lab: Lab) -> None:
    """H5: if that DEL fails too, the entry stays for another try, and ADD's error says so in a note."""
    one = lab.plugin("one", noop={"DEL": {"fail": {"msg": "stuck"}}})
    with pytest.raises(PluginError, match="told to fail") as error:
        lab.runtime.add(network(one, lab.plugin("two", noop={"ADD": {"fail": {}}})), attachment())
    assert lab.cached == [f"net-{ID}-eth0"]
    assert "stuck" in error.value.__notes__[0]


def test_the_cache_holds_result_config_and_args(lab: Lab) -> None:
    """H6: the entry has the exact last result, the bytes of the configuration, and all arguments."""
    printed = result(routes=[{"dst": "0.0.0.0/0", "priority": 2**53 + 1}], vendor=[None])
    net = network(lab.plugin("one"), lab.plugin("two", noop={"ADD": {"print": json.dumps(printed)}}))
    supplied = {"portMappings": [{"hostPort": 1, "containerPort": 2}]}
    lab.runtime.add(net, attachment(args=(("K", "v"), ("L", "")), capability_args=supplied, owner={"who": "me"}))
    stored = json.loads((lab.cache.directory / "results" / f"net-{ID}-eth0").read_bytes())
    assert stored["result"] == printed
    assert base64.b64decode(stored["config"]) == net.raw
    assert (stored["cniArgs"], stored["capabilityArgs"]) == ([["K", "v"], ["L", ""]], supplied)
    assert (stored["kind"], stored["netns"], stored["ifName"]) == ("cniCacheV1", NETNS, "eth0")
    assert lab.calls[0].env["CNI_ARGS"] == "K=v;L="


def test_two_interfaces_are_two_files(lab: Lab) -> None:
    """H7: one container on one network by two interface names has two entries."""
    for ifname in ("eth0", "eth1"):
        lab.runtime.add(network(lab.plugin("one")), attachment(ifname=ifname))
    assert lab.cached == [f"net-{ID}-eth0", f"net-{ID}-eth1"]


@pytest.mark.parametrize(
    ("changes", "name", "code"),
    [
        ({"container_id": ""}, "net", 3),
        *(({"container_id": each}, "net", 4) for each in ("-a", ".a", "a/b", "a b", "a\n", "é", "a\0", "../../x")),
        *(({}, each, 7) for each in ("-a", "a/b", "a b", "é")),
        *(
            ({"ifname": each}, "net", 4)
            for each in ("", ".", "..", "a/b", "a:b", "a b", "a\u00a0b", "x" * 16, "é" * 8, "a\0b", "\ud800")
        ),
        *(
            ({"args": (pair,)}, "net", 4)
            for pair in (("a;b", "c"), ("a", "b=c"), ("", "b"), ("a", "\0"), ("a", "\ud800"))
        ),
        *(({"netns": each}, "net", 4) for each in ("/run/a\0b", "\ud800")),
        *(({"capability_args": {"mac": each}}, "net", 7) for each in (object(), float("nan"), b"", {(): 1})),
    ],
)
def test_what_is_not_allowed_is_refused_before_anything_runs(
    tmp_path: Path, changes: dict[str, Any], name: str, code: int
) -> None:
    """H8: each bad container id, network name and interface name, and arguments beyond libcni's checks, run nothing."""
    runner = FakeRunner()
    net = network("one")
    if name != "net":
        net = replace(net, name=name)  # such a name cannot come from a file
    with pytest.raises(InvalidParameters) as error:
        Runtime(runner, Cache(tmp_path / "cache")).add(net, attachment(**changes))
    assert error.value.code == code
    assert runner.calls == []
    assert list(tmp_path.iterdir()) == []


def test_a_missing_plugin_comes_before_a_bad_name(lab: Lab) -> None:
    """H8: as in libcni the plugin is looked for first; unlike libcni, the whole list is, before the first one runs."""
    for changes in ({}, {"container_id": ""}):
        with pytest.raises(PluginNotFound, match='plugin "gone" not found') as error:
            lab.runtime.add(network(lab.plugin("one"), "gone"), attachment(**changes))
        assert error.value.directories == (str(lab.bin),)
    assert (lab.calls, lab.cached) == ([], [])


def test_a_second_add_is_refused(lab: Lab) -> None:
    """The specification forbids a second ADD without a DEL: it is refused, and changes nothing."""
    net = network(lab.plugin("one"))
    lab.runtime.add(net, attachment())
    entry = (lab.cache.directory / "results" / f"net-{ID}-eth0").read_bytes()
    with pytest.raises(CNIError, match="exists: container"):
        lab.runtime.add(net, attachment())
    assert lab.order == [("one", "ADD")]
    assert (lab.cache.directory / "results" / f"net-{ID}-eth0").read_bytes() == entry
