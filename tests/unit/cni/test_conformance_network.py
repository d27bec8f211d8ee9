"""GC, STATUS, VERSION and time limits as in libcni: numbers 19 to 23 of the conformance list."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dockercni.cni import (
    Cache,
    CacheEntry,
    ChainError,
    ExecRunner,
    PluginError,
    PluginNotFound,
    PluginTimeout,
    Runtime,
)
from tests.unit.cni.lab import ID, VERSIONS, FakeRunner, Lab, attachment, network, result


@pytest.fixture
def runner() -> FakeRunner:
    """Plugins that record their calls."""
    return FakeRunner()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache."""
    return Cache(tmp_path)


def test_gc_keeps_what_is_valid(runner: FakeRunner, cache: Cache) -> None:
    """H19: ADD, GC with the attachment, DEL, GC with none: GC tells every plugin what is valid, and runs no DEL."""
    runtime, net = Runtime(runner, cache), network("one", "two")
    runtime.add(net, attachment())
    runtime.gc(net, [(ID, "eth0")])
    runtime.delete(net, attachment())
    runtime.gc(net, [])
    verbs = [("one", "ADD"), ("two", "ADD"), ("one", "GC"), ("two", "GC"), ("two", "DEL"), ("one", "DEL")]
    assert runner.order == [*verbs, ("one", "GC"), ("two", "GC")]
    valid = [{"containerID": ID, "ifname": "eth0"}]
    for call, listed in zip([call for call in runner.calls if call.verb == "GC"], [valid, valid, [], []], strict=True):
        assert call.stdin["cni.dev/valid-attachments"] == call.stdin["cni.dev/attachments"] == listed
        assert (call.stdin["name"], call.stdin["cniVersion"]) == ("net", "1.1.0")
        assert call.env == {"CNI_COMMAND": "GC", "CNI_PATH": "/plugins"}


def test_gc_takes_back_what_is_not(runner: FakeRunner, cache: Cache) -> None:
    """H19: what is cached and not valid gets a whole DEL with the cached namespace and arguments, before any GC."""
    runtime, net = Runtime(runner, cache), network({"type": "one", "capabilities": {"mac": True}}, "two")
    supplied = {"mac": "02:00:00:00:00:01"}
    for ifname in ("eth0", "eth1"):
        runtime.add(net, attachment(ifname=ifname, args=(("K", ifname),), capability_args=supplied))
    other = network("one", name="other")
    runtime.add(other, attachment())
    runner.calls.clear()
    runtime.gc(net, [(ID, "eth0"), ("never", "seen")])
    assert runner.order == [("two", "DEL"), ("one", "DEL"), ("one", "GC"), ("two", "GC")]
    deleted = runner.calls[1]
    assert (deleted.env["CNI_IFNAME"], deleted.env["CNI_ARGS"]) == ("eth1", "K=eth1")
    assert deleted.env["CNI_NETNS"] == attachment().netns
    assert deleted.stdin["runtimeConfig"] == supplied
    assert cache.read("net", ID, "eth0")
    assert cache.read("other", ID, "eth0")
    assert cache.read("net", ID, "eth1") is None


def test_gc_uses_the_recorded_network_for_ours(runner: FakeRunner, cache: Cache) -> None:
    """H19: libcni takes back with today's configuration; we with the recorded one, but for other runtimes' entries."""
    runtime = Runtime(runner, cache)
    runtime.add(network("one", "two"), attachment())
    cache.write(CacheEntry("net", "f" * 12, "eth0", "", network("one").raw, result=result()))
    runner.calls.clear()
    runtime.gc(network("today", version="1.0.0"), [])
    assert runner.order == [("two", "DEL"), ("one", "DEL"), ("today", "DEL")]
    assert list(cache.entries()) == []


def test_gc_goes_on_and_reports_everything(runner: FakeRunner, cache: Cache) -> None:
    """H19: neither a failing DEL, nor a failing GC, nor a corrupt entry keeps the rest from running."""
    runtime, net = Runtime(runner, cache), network("one", "two")
    runtime.add(net, attachment())
    (cache.directory / "results" / "a-corrupt-entry").write_bytes(b"{")
    runner.answers |= {
        ("two", "DEL"): PluginError("two", "DEL", "busy", code=11),
        ("one", "GC"): PluginError("one", "GC", "no", code=100),
    }
    runner.calls.clear()
    with pytest.raises(ChainError) as error:
        runtime.gc(net, [])
    assert runner.order == [("two", "DEL"), ("one", "DEL"), ("one", "GC"), ("two", "GC")]
    assert [failure.code for failure in error.value.failures] == [11, 100]
    assert cache.read("net", ID, "eth0")


@pytest.mark.parametrize("version", VERSIONS)
def test_gc_is_sent_from_1_1_0(runner: FakeRunner, cache: Cache, version: str) -> None:
    """H19, H34: below 1.1.0 GC takes stale attachments back, and no plugin sees the verb."""
    runtime, net = Runtime(runner, cache), network("one", version=version)
    runtime.add(net, attachment())
    runtime.gc(net, [])
    assert runner.order[:2] == [("one", "ADD"), ("one", "DEL")]
    assert runner.order[2:] == ([("one", "GC")] if version == "1.1.0" else [])


def test_disable_gc_does_nothing(runner: FakeRunner, cache: Cache) -> None:
    """H19: disableGC makes GC a success that runs nothing and forgets nothing."""
    runtime, net = Runtime(runner, cache), network("one", disableGC=True)
    runtime.add(net, attachment())
    runtime.gc(net, [])
    assert runner.order == [("one", "ADD")]
    assert cache.read("net", ID, "eth0")


def test_status_stops_at_the_first_failure(tmp_path: Path) -> None:
    """H20: STATUS goes forward, and the first failure is raised as it is: code 50 stays 50."""
    lab = Lab(tmp_path)
    down = {"STATUS": {"fail": {"code": 50, "msg": "down"}}}
    net = network(lab.plugin("one"), lab.plugin("two", noop=down), lab.plugin("three"))
    with pytest.raises(PluginError) as error:
        lab.runtime.status(net)
    assert (error.value.code, error.value.plugin, error.value.verb) == (50, "two", "STATUS")
    assert lab.order == [("one", "STATUS"), ("two", "STATUS")]
    assert lab.calls[0].env == {"CNI_COMMAND": "STATUS", "CNI_PATH": str(lab.bin)}
    assert {"prevResult", "runtimeConfig"}.isdisjoint(lab.calls[0].stdin)


@pytest.mark.parametrize("version", VERSIONS)
def test_status_is_sent_from_1_1_0(runner: FakeRunner, cache: Cache, version: str) -> None:
    """H20, H34: below 1.1.0 STATUS is a success that runs nothing."""
    Runtime(runner, cache).status(network("one", version=version))
    assert runner.order == ([("one", "STATUS")] if version == "1.1.0" else [])


@pytest.mark.parametrize("verb", ["ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"])
def test_a_plugin_that_takes_too_long_is_killed(tmp_path: Path, verb: str) -> None:
    """H21: a plugin that hangs in any verb is killed when the time is up, and the error says so; it may be retried."""
    lab = Lab(tmp_path)
    hanging = lab.plugin("one", noop={verb: {"stderr": "starting", "hang": True}})
    net = network(hanging)
    impatient = Runtime(ExecRunner([lab.bin], 0.3), lab.cache)
    entry = CacheEntry("net", ID, "eth0", "", net.raw, result=result())
    if verb == "VERSION":
        (lab.bin / "one").unlink()
        (lab.bin / "one").write_text("#!/bin/sh\necho starting >&2\nwhile :; do sleep 60; done\n")
        (lab.bin / "one").chmod(0o755)
    calls: dict[str, Callable[[], object]] = {
        "ADD": lambda: impatient.add(net, attachment()),
        "CHECK": lambda: impatient.check(entry),
        "DEL": lambda: impatient.delete_recorded(entry),
        "GC": lambda: impatient.gc(net, []),
        "STATUS": lambda: impatient.status(net),
        "VERSION": lambda: impatient.versions(net, net.plugins[0]),
    }
    with pytest.raises((PluginTimeout, ChainError)) as error:
        calls[verb]()
    late = error.value.failures[0] if isinstance(error.value, ChainError) else error.value
    assert isinstance(late, PluginTimeout)
    assert (late.code, late.verb, late.msg, late.stderr) == (11, verb, "not finished after 0.3 s", "starting")
    for line in lab.record.read_text().splitlines() if lab.record.exists() else ():
        assert not Path(f"/proc/{json.loads(line)['pid']}").exists()


def test_a_good_network_is_valid(tmp_path: Path) -> None:
    """H22: of a network whose plugins are there and speak its version, validate returns the capabilities."""
    lab = Lab(tmp_path)
    one = lab.plugin("one", capabilities={"mac": True, "ips": False})
    two = lab.plugin("two", capabilities={"mac": True, "portMappings": True})
    assert lab.runtime.validate(network(one, two)) == {"mac", "portMappings"}
    assert not lab.record.exists()


def test_what_is_wrong_with_a_network_is_told_whole(runner: FakeRunner, cache: Cache) -> None:
    """H22: validate names every missing plugin and every one that does not speak the version, and runs VERSION only."""
    runner.answers |= {
        ("gone", "choose"): PluginNotFound("gone", ["/plugins"]),
        ("old", "VERSION"): {"cniVersion": "0.3.1", "supportedVersions": ["0.3.0", "0.3.1"]},
        ("good", "VERSION"): {"cniVersion": "1.1.0", "supportedVersions": ["1.0.0", "1.1.0"]},
    }
    with pytest.raises(ChainError) as error:
        Runtime(runner, cache).validate(network("gone", "good", "old", version="1.0.0"))
    assert str(error.value) == (
        'validation of network "net" failed; plugin "gone" not found; searched /plugins; '
        'plugin "old" does not support version 1.0.0; it supports 0.3.0, 0.3.1'
    )
    assert [failure.code for failure in error.value.failures] == [50, 1]
    assert runner.order == [("good", "VERSION"), ("old", "VERSION")]


@pytest.mark.parametrize(
    ("answer", "versions"),
    [
        (PluginError("one", "VERSION", "unknown CNI_COMMAND: VERSION", code=4), ("0.1.0",)),
        ({"cniVersion": "0.2.0"}, ("0.1.0", "0.2.0")),
        ({"cniVersion": "0.2.0", "supportedVersions": []}, ("0.1.0", "0.2.0")),
        ({"cniVersion": "1.0.0", "supportedVersions": ["1.0.0", "9.9.9"]}, ("1.0.0", "9.9.9")),
    ],
)
def test_old_plugins_are_understood(runner: FakeRunner, cache: Cache, answer: Any, versions: tuple[str, ...]) -> None:
    """H23: a plugin that does not know VERSION is of 0.1.0, and one of 0.2.0 need not list what it supports."""
    runner.answers["one", "VERSION"] = answer
    net = network("one")
    assert Runtime(runner, cache).versions(net, net.plugins[0]) == versions
    assert runner.calls[0].stdin == {"cniVersion": "1.1.0"}
    assert runner.calls[0].env["CNI_COMMAND"] == "VERSION"
    assert all(runner.calls[0].env.values())


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "is empty"),
        (b"{", "expecting"),
        (b"[]", "must be an object"),
        ({"supportedVersions": ["1.0.0"]}, "cniVersion: missing"),
        ({"cniVersion": "1.0.0"}, "supportedVersions: missing"),
        ({"cniVersion": "1.0.0", "supportedVersions": "1.0.0"}, "must be an array"),
        (PluginError("one", "VERSION", "some other failure", code=4), "some other failure"),
    ],
)
def test_no_answer_to_version_is_an_error(runner: FakeRunner, cache: Cache, answer: Any, problem: str) -> None:
    """H22, H23: whatever else a plugin says to VERSION is an error that names it."""
    runner.answers["one", "VERSION"] = answer
    net = network("one")
    with pytest.raises(PluginError, match=problem) as error:
        Runtime(runner, cache).versions(net, net.plugins[0])
    assert str(error.value).startswith('plugin "one" failed (version): ')
