"""DEL as libcni does it: numbers 14 to 18 of the conformance list."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dockercni.cni import Cache, CacheEntry, ChainError, EntryTooNew, PluginError, PluginNotFound, Runtime
from tests.unit.cni.lab import ID, VERSIONS, FakeRunner, attachment, network, result

FILE = f"net-{ID}-eth0"


@pytest.fixture
def runner() -> FakeRunner:
    """Plugins that record their calls."""
    return FakeRunner()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache with its directories."""
    (tmp_path / "results").mkdir()
    return Cache(tmp_path)


@pytest.fixture
def runtime(runner: FakeRunner, cache: Cache) -> Runtime:
    """The runtime over both."""
    return Runtime(runner, cache)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_order_is_reversed(runner: FakeRunner, runtime: Runtime, version: str) -> None:
    """H14, H15: DEL goes backwards; every plugin gets the last result, below 0.4.0 none even if one is cached."""
    net = network("one", "two", "three", version=version)
    runner.answers["three", "ADD"] = last = result(version, "198.51.100.2/24")
    runtime.add(net, attachment())
    runner.calls.clear()
    runtime.delete(net, attachment())
    assert runner.order == [("three", "DEL"), ("two", "DEL"), ("one", "DEL")]
    expected = None if version < "0.4.0" else last
    assert [call.stdin.get("prevResult") for call in runner.calls] == [expected] * 3


def test_a_second_del_has_no_result(runner: FakeRunner, runtime: Runtime, cache: Cache) -> None:
    """H16: DEL forgets the entry, so a second one runs all plugins, without prevResult, and succeeds."""
    net = network("one", "two")
    runtime.add(net, attachment())
    for _ in range(2):
        runner.calls.clear()
        runtime.delete(net, attachment())
        assert cache.read("net", ID, "eth0") is None
    assert runner.order == [("two", "DEL"), ("one", "DEL")]
    assert not any("prevResult" in call.stdin for call in runner.calls)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b'{"kind":"cniCacheV1"}',
        b'{"kind":"cniCacheV9","containerId":"x"}',
        b'{"cniVersion":"0.4.0","ips":[{"address":"nonsense"}]}',
        b'{"cniVersion":"99.0.0","ips":[]}',
    ],
)
def test_a_corrupt_cache_does_not_stop_del(runner: FakeRunner, runtime: Runtime, cache: Cache, content: bytes) -> None:
    """H17: DEL runs without prevResult if the cached one cannot be read or converted, and removes the file."""
    (cache.directory / "results" / FILE).write_bytes(content)
    runtime.delete(network("one"), attachment())
    assert runner.order == [("one", "DEL")]
    assert "prevResult" not in runner.calls[0].stdin
    assert list((cache.directory / "results").iterdir()) == []


def test_an_unconvertible_result_does_not_stop_del(runner: FakeRunner, runtime: Runtime, cache: Cache) -> None:
    """H17: likewise for a good entry whose result is none."""
    net = network("one")
    cache.write(CacheEntry("net", ID, "eth0", "", net.raw, result={"cniVersion": "99.0.0"}))
    entry = cache.read("net", ID, "eth0")
    assert entry
    runtime.delete_recorded(entry)
    assert "prevResult" not in runner.calls[0].stdin
    assert cache.read("net", ID, "eth0") is None


def test_a_corrupt_cache_stays_while_del_fails(runner: FakeRunner, runtime: Runtime, cache: Cache) -> None:
    """H17: libcni removes a corrupt file before the plugins run, we afterwards: a failed DEL has changed nothing."""
    (cache.directory / "results" / FILE).write_bytes(b"{")
    runner.answers["one", "DEL"] = PluginError("one", "DEL", "busy", code=11)
    with pytest.raises(ChainError):
        runtime.delete(network("one"), attachment())
    assert (cache.directory / "results" / FILE).read_bytes() == b"{"


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0"])
def test_a_bare_result_is_used(runner: FakeRunner, runtime: Runtime, cache: Cache, version: str) -> None:
    """H17: a file without kind is what libcni wrote before 0.8: a bare result, which is converted and handed on."""
    bare = b'{"cniVersion":"0.3.1","ips":[{"version":"4","address":"192.0.2.2/24"}],"dns":{}}'
    (cache.directory / "results" / FILE).write_bytes(bare)
    runtime.delete(network("one", version=version), attachment())
    previous = runner.calls[0].stdin["prevResult"]
    assert (previous["cniVersion"], previous["ips"][0]["address"]) == (version, "192.0.2.2/24")
    assert cache.read("net", ID, "eth0") is None


def test_an_error_keeps_the_cache(runner: FakeRunner, runtime: Runtime, cache: Cache) -> None:
    """H18: an error keeps the entry; unlike libcni we run the other plugins all the same, and report every error."""
    net = network("one", "two", "three")
    runtime.add(net, attachment())
    before = (cache.directory / "results" / FILE).read_bytes()
    runner.answers |= {
        ("three", "DEL"): PluginError("three", "DEL", "busy", code=11),
        ("two", "DEL"): PluginNotFound("two", []),
    }
    runner.calls.clear()
    with pytest.raises(ChainError) as error:
        runtime.delete(net, attachment())
    assert runner.order == [("three", "DEL"), ("two", "DEL"), ("one", "DEL")]
    assert [failure.code for failure in error.value.failures] == [11, 50]
    assert error.value.code == 11
    assert (cache.directory / "results" / FILE).read_bytes() == before


def test_a_missing_plugin_is_one_of_the_errors(runner: FakeRunner, runtime: Runtime) -> None:
    """H18: a plugin that is not installed any more does not keep the others from DEL."""
    runner.answers["two", "choose"] = PluginNotFound("two", ["/plugins"])
    with pytest.raises(ChainError, match='plugin "two" not found'):
        runtime.delete(network("one", "two", "three"), attachment())
    assert runner.order == [("three", "DEL"), ("one", "DEL")]


def test_a_newer_entry_is_left_alone(runner: FakeRunner, runtime: Runtime, cache: Cache) -> None:
    """An entry of a newer version is not corrupt: DEL refuses before anything runs, and the file stays."""
    net = network("one")
    runtime.add(net, attachment())
    file = cache.directory / "results" / FILE
    file.write_bytes(newer := file.read_bytes().replace(b'"schema":1', b'"schema":2'))
    runner.calls.clear()
    with pytest.raises(EntryTooNew, match="newer version"):
        runtime.delete(net, attachment())
    assert runner.calls == []
    assert file.read_bytes() == newer


def test_another_attachment_of_the_same_file_name_stays(runner: FakeRunner, runtime: Runtime, cache: Cache) -> None:
    """DEL of (net, a-b) neither uses nor removes the entry of (net-a, b), which has the same file name."""
    other = CacheEntry("net-a", "b", "eth0", "", network("one", name="net-a").raw, result=result())
    cache.write(other)
    runtime.delete(network("one"), attachment(container_id="a-b"))
    assert "prevResult" not in runner.calls[0].stdin
    assert cache.read("net-a", "b", "eth0") == other


def test_the_recorded_network_is_taken_back(runner: FakeRunner, runtime: Runtime, cache: Cache) -> None:
    """delete_recorded uses the configuration, arguments and engines of ADD, whatever the files say today."""
    runner.engines = {"one": "builtin", "two": "exec"}
    supplied = {"portMappings": [{"hostPort": 1}]}
    one = {"type": "one", "capabilities": {"portMappings": True}}
    runtime.add(network(one, "two"), attachment(args=(("K", "v"),), capability_args=supplied))
    runner.engines = {}
    entry = cache.read("net", ID, "eth0")
    assert entry
    runner.calls.clear()
    runner.served_by.clear()
    runtime.delete_recorded(replace(entry, netns=""))
    assert runner.order == [("two", "DEL"), ("one", "DEL")]
    assert runner.served_by == ["exec", "builtin"]
    assert runner.calls[1].stdin["runtimeConfig"] == supplied
    assert runner.calls[1].env["CNI_ARGS"] == "K=v"
    assert runner.calls[1].env["CNI_NETNS"] == ""


def test_recorded_engines_follow_their_plugins(runner: FakeRunner, runtime: Runtime) -> None:
    """The engines that served at ADD serve today's list only if it has the same plugins in the same order."""
    runner.engines = {"one": "builtin", "two": "exec"}
    runtime.add(network("one", "two"), attachment())
    runner.engines = {"one": "chosen now", "two": "chosen now"}
    runner.answers["one", "DEL"] = PluginError("one", "DEL", "busy", code=11)  # keeps the entry
    for plugins, engines in ((("one", "two"), ["exec", "builtin"]), (("two", "one"), ["chosen now"] * 2)):
        runner.served_by.clear()
        with pytest.raises(ChainError):
            runtime.delete(network(*plugins), attachment())
        assert runner.served_by == engines


def test_one_plugin_alone_is_taken_back(runner: FakeRunner, runtime: Runtime, cache: Cache) -> None:
    """An entry of libcni's AddNetwork, whose configuration is a single plugin, can be taken back from the record."""
    single = b'{"cniVersion":"0.4.0","name":"net","type":"one"}'
    cache.write(entry := CacheEntry("net", ID, "eth0", "", single, result=result("0.4.0")))
    runtime.delete_recorded(entry)
    assert runner.order == [("one", "DEL")]


@pytest.mark.parametrize("changes", [{"container_id": ""}, {"container_id": "../x"}, {"ifname": "a/b"}])
def test_del_validates_no_names(runner: FakeRunner, runtime: Runtime, cache: Cache, changes: dict[str, str]) -> None:
    """H8, H30: DEL runs its plugins with any names, as libcni; what cannot be a file of the cache is none."""
    runtime.delete(network("one"), attachment(**changes))
    assert runner.order == [("one", "DEL")]
    assert list((cache.directory / "results").iterdir()) == []
