"""The runtime: order, prevResult, capabilities, roll-back, and verbs, over a runner that only pretends."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from dockercni.cni import (
    Cache,
    CacheEntry,
    CacheError,
    ChainError,
    CNIError,
    InvalidParameters,
    NetworkList,
    PluginCall,
    PluginConf,
    PluginError,
    PluginNotFound,
    Runtime,
    RuntimeConf,
    VersionError,
    invoke,
    parse_list,
)

if TYPE_CHECKING:
    from pathlib import Path

WEB = RuntimeConf("id", "/run/netns/x", "eth0", args=(("A", "b"),), owner={"engine": "e"})


@dataclass
class Pretender:
    """Serves every plugin: remembers the call and what was recorded at that moment, fails or answers as told."""

    cache: Cache
    missing: set[str] = field(default_factory=set)
    fails: set[tuple[str, str]] = field(default_factory=set)
    answers: dict[str, Any] = field(default_factory=dict)
    calls: list[PluginCall] = field(default_factory=list)
    recorded: list[CacheEntry | CacheError | None] = field(default_factory=list)
    path: str = "/bin/dir"

    def choose(self, network: NetworkList, plugin: PluginConf) -> str:
        if plugin.type in self.missing:
            raise PluginNotFound(plugin.type, ["/bin/dir"])
        return f"engine-{plugin.type}"

    def run(self, call: PluginCall) -> Any:
        self.calls.append(call)
        self.recorded.append(next(self.cache.entries(), None))
        if (call.verb, call.plugin) in self.fails:
            raise PluginError(call.plugin, call.verb, "told to", code=100 + len(call.plugin))
        if call.verb != "ADD":
            return None
        default = {"cniVersion": call.config["cniVersion"], "interfaces": [{"name": call.plugin}]}
        answer = self.answers.get(call.plugin, default)
        return invoke.answer(call, answer) if isinstance(answer, bytes) else answer

    @property
    def order(self) -> list[str]:
        return [f"{call.verb} {call.plugin}" for call in self.calls]

    def config(self, position: int) -> Any:
        return self.calls[position].config


@pytest.fixture
def runner(tmp_path: Path) -> Pretender:
    """What serves the plugins."""
    return Pretender(Cache(tmp_path))


@pytest.fixture
def runtime(runner: Pretender) -> Runtime:
    """The runtime under test."""
    return Runtime(runner, runner.cache)


def network(version: str = "1.0.0", *names: str, **more: Any) -> NetworkList:
    """A network of these plugins (a, b and c); b declares portMappings, c declares mac as false."""
    declared = {"b": {"portMappings": True}, "c": {"mac": False}}
    plugins = [{"type": name, "capabilities": declared.get(name, {})} for name in names or ("a", "b", "c")]
    return parse_list(json.dumps({"cniVersion": version, "name": "net", "plugins": plugins, **more}).encode())


def test_add(runtime: Runtime, runner: Pretender) -> None:
    """ADD goes through the plugins in order, each gets the result of the one before, the last one's is returned."""
    entry = runtime.add(network(), WEB)
    assert entry == runner.cache.read("net", "id", "eth0")
    assert runner.order == ["ADD a", "ADD b", "ADD c"]
    assert entry.attached.interfaces[0].name == "c"
    assert "prevResult" not in runner.config(0)
    assert [runner.config(n)["prevResult"]["interfaces"][0]["name"] for n in (1, 2)] == ["a", "b"]
    assert all((config["name"], config["cniVersion"]) == ("net", "1.0.0") for config in map(runner.config, range(3)))
    assert [call.backend for call in runner.calls] == ["engine-a", "engine-b", "engine-c"]
    assert runner.calls[1].environment == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "id",
        "CNI_NETNS": "/run/netns/x",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "A=b",
        "CNI_PATH": "/bin/dir",
    }


def test_write_ahead(runtime: Runtime, runner: Pretender) -> None:
    """Whatever is killed, the record says how far the ADD got: it stands before the first plugin runs."""
    runtime.add(network(), WEB)
    recorded = [entry for entry in runner.recorded if isinstance(entry, CacheEntry)]
    assert [entry.done for entry in recorded] == [0, 1, 2]
    assert [entry.result is None for entry in recorded] == [True, False, False]
    final = runner.cache.read("net", "id", "eth0")
    assert final
    assert final.complete
    assert final.served == ("engine-a", "engine-b", "engine-c")
    assert final.owner == {"engine": "e"}


def test_capabilities(runtime: Runtime, runner: Pretender) -> None:
    """runtimeConfig has what the plugin declares and the caller gave, and is absent where that is nothing."""
    given = {"portMappings": [{"hostPort": 8080}], "mac": "02:00:00:00:00:01"}
    runtime.add(network(), RuntimeConf("id", "/x", "eth0", capability_args=given))
    assert "runtimeConfig" not in runner.config(0)
    assert runner.config(1)["runtimeConfig"] == {"portMappings": [{"hostPort": 8080}]}
    assert "runtimeConfig" not in runner.config(2)


def test_roll_back(runtime: Runtime, runner: Pretender) -> None:
    """When a plugin fails the whole chain gets DEL, in reverse order, with the result so far; no record stays."""
    runner.fails = {("ADD", "b")}
    with pytest.raises(PluginError, match='"b" failed') as caught:
        runtime.add(network(), WEB)
    assert runner.order == ["ADD a", "ADD b", "DEL c", "DEL b", "DEL a"]
    assert {runner.config(n)["prevResult"]["interfaces"][0]["name"] for n in (2, 3, 4)} == {"a"}
    assert caught.value.code == 101
    assert not list(runner.cache.entries())


def test_roll_back_that_fails(runtime: Runtime, runner: Pretender) -> None:
    """What could not be taken back stays recorded; the first error is raised, the others are its notes."""
    runner.fails = {("ADD", "b"), ("DEL", "c")}
    with pytest.raises(PluginError, match="add") as caught:
        runtime.add(network(), WEB)
    assert runner.order == ["ADD a", "ADD b", "DEL c", "DEL b", "DEL a"]
    assert "taking it back failed too" in caught.value.__notes__[0]
    (entry,) = runner.cache.entries()
    assert isinstance(entry, CacheEntry)
    assert not entry.complete


@pytest.mark.parametrize(
    "printed", [b"", b"garbage", b"[]", {"cniVersion": "9.9.9"}, {"cniVersion": "1.0.0", "ips": 1}]
)
def test_invalid_result(runtime: Runtime, runner: Pretender, printed: object) -> None:
    """A plugin that succeeds without a valid result has failed."""
    runner.answers["b"] = printed
    with pytest.raises(PluginError, match=r'plugin "b" failed \(add\): printed no valid result'):
        runtime.add(network(), WEB)
    assert runner.order[2:] == ["DEL c", "DEL b", "DEL a"]


def test_nothing_runs(runtime: Runtime, runner: Pretender) -> None:
    """A missing plugin, a bad name and an existing record are found before anything runs or is written."""
    runner.missing = {"c"}
    with pytest.raises(PluginNotFound):
        runtime.add(network(), WEB)
    runner.missing = set()
    for conf in (RuntimeConf("", "/x", "eth0"), RuntimeConf("a/b", "/x", "eth0"), RuntimeConf("id", "/x", "a b")):
        with pytest.raises(InvalidParameters):
            runtime.add(network(), conf)
    assert not list(runner.cache.entries())
    runtime.add(network(), WEB)
    before = len(runner.calls)
    with pytest.raises(CacheError):
        runtime.add(network(), WEB)
    assert len(runner.calls) == before
    assert len(list(runner.cache.entries())) == 1


def test_del_by_the_record(runtime: Runtime, runner: Pretender) -> None:
    """DEL goes in reverse order with the recorded configuration, arguments, capabilities, result and engines."""
    given = {"portMappings": [{"hostPort": 8080}]}
    runtime.add(network(), RuntimeConf("id", "/x", "eth0", args=(("A", "b"),), capability_args=given))
    entry = runner.cache.read("net", "id", "eth0")
    assert entry
    runner.calls.clear()
    runtime.delete_recorded(entry)
    assert runner.order == ["DEL c", "DEL b", "DEL a"]
    assert runner.config(1)["runtimeConfig"] == given
    assert runner.calls[0].environment["CNI_ARGS"] == "A=b"
    assert all(runner.config(n)["prevResult"]["interfaces"][0]["name"] == "c" for n in range(3))
    assert [call.backend for call in runner.calls] == ["engine-c", "engine-b", "engine-a"]
    assert not list(runner.cache.entries())


def test_del_runs_every_step(runtime: Runtime, runner: Pretender) -> None:
    """A DEL that fails stops no other; all errors come as one, and the record stays."""
    runtime.add(network(), WEB)
    (entry,) = runner.cache.entries()
    assert isinstance(entry, CacheEntry)
    runner.calls.clear()
    runner.fails = {("DEL", "c"), ("DEL", "a")}
    with pytest.raises(ChainError) as caught:
        runtime.delete_recorded(entry)
    assert runner.order == ["DEL c", "DEL b", "DEL a"]
    assert [str(failure)[:12] for failure in caught.value.failures] == ['plugin "c" f', 'plugin "a" f']
    assert list(runner.cache.entries()) == [entry]


@pytest.mark.parametrize(("version", "sent"), [("0.3.1", False), ("0.4.0", True), ("1.1.0", True)])
def test_prev_result_on_del(runtime: Runtime, runner: Pretender, version: str, sent: bool) -> None:
    """DEL carries prevResult from 0.4.0 on."""
    runtime.add(network(version), WEB)
    runner.calls.clear()
    runtime.delete(network(version), WEB)
    assert [("prevResult" in runner.config(n)) for n in range(3)] == [sent] * 3


def test_del_of_nothing(runtime: Runtime, runner: Pretender) -> None:
    """DEL without a record runs all the same, without prevResult; also over a record that is broken, which goes."""
    runtime.delete(network(), WEB)
    assert runner.order == ["DEL c", "DEL b", "DEL a"]
    path = runner.cache.directory / "results" / "net-id-eth0"
    path.parent.mkdir(exist_ok=True)
    path.write_text("{")
    runtime.delete(network(), WEB)
    assert not path.exists()
    assert all("prevResult" not in runner.config(n) for n in range(6))


def test_check(runtime: Runtime, runner: Pretender) -> None:
    """CHECK goes in order with the same prevResult for all, stops at the first complaint, needs 0.4.0, and may be
    switched off."""

    def check(net: NetworkList) -> None:
        runtime.add(net, WEB)
        (entry,) = runner.cache.entries()
        assert isinstance(entry, CacheEntry)
        runner.calls.clear()
        try:
            runtime.check(entry)
        finally:
            runner.cache.remove(entry)

    check(network())
    assert runner.order == ["CHECK a", "CHECK b", "CHECK c"]
    assert {runner.config(n)["prevResult"]["interfaces"][0]["name"] for n in range(3)} == {"c"}
    runner.fails = {("CHECK", "b")}
    with pytest.raises(PluginError):
        check(network())
    assert runner.order == ["CHECK a", "CHECK b"]
    with pytest.raises(VersionError):
        check(network("0.3.1"))
    check(network(disableCheck=True))
    assert runner.order == []


def test_gc(runtime: Runtime, runner: Pretender) -> None:
    """GC takes back what is recorded and not valid, then tells every plugin which attachments are."""
    net = network("1.1.0")
    for container in ("keep", "drop"):
        runtime.add(net, RuntimeConf(container, "/x", "eth0"))
    other = network("1.1.0")
    runner.calls.clear()
    runtime.gc(other, [("keep", "eth0")])
    assert runner.order == ["DEL c", "DEL b", "DEL a", "GC a", "GC b", "GC c"]
    assert {call.environment.get("CNI_CONTAINERID") for call in runner.calls[:3]} == {"drop"}
    listed = [{"containerID": "keep", "ifname": "eth0"}]
    assert runner.config(3)["cni.dev/valid-attachments"] == runner.config(3)["cni.dev/attachments"] == listed
    assert set(runner.calls[3].environment) == {"CNI_COMMAND", "CNI_PATH"}
    assert [entry.container_id for entry in runner.cache.entries() if isinstance(entry, CacheEntry)] == ["keep"]


def test_gc_goes_on(runtime: Runtime, runner: Pretender) -> None:
    """A failure stops GC nowhere; before 1.1.0 no plugin is told; disableGC means nothing at all."""
    runtime.add(network("1.1.0"), WEB)
    runner.fails = {("DEL", "b"), ("GC", "a")}
    runner.calls.clear()
    with pytest.raises(ChainError) as caught:
        runtime.gc(network("1.1.0"), [])
    assert len(caught.value.failures) == 2
    assert runner.order[-3:] == ["GC a", "GC b", "GC c"]
    runner.calls.clear()
    runtime.gc(network("1.1.0", disableGC=True), [])
    assert runner.order == []
    runtime.gc(network("1.0.0"), [("id", "eth0")])
    assert runner.order == []


def test_status(runtime: Runtime, runner: Pretender) -> None:
    """STATUS asks in order and stops at the first that cannot serve; before 1.1.0 there is none."""
    runtime.status(network("1.0.0"))
    assert runner.order == []
    runner.fails = {("STATUS", "b")}
    with pytest.raises(CNIError):
        runtime.status(network("1.1.0"))
    assert runner.order == ["STATUS a", "STATUS b"]
