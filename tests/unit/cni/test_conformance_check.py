"""CHECK as libcni does it: numbers 9 to 13 of the conformance list."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dockercni.cni import Cache, CacheEntry, CacheError, CNIError, PluginError, Runtime, VersionError
from tests.unit.cni.lab import ID, FakeRunner, attachment, network, result

NEWER = ("0.4.0", "1.0.0", "1.1.0")


@pytest.fixture
def runner() -> FakeRunner:
    """Plugins that record their calls."""
    return FakeRunner()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache."""
    return Cache(tmp_path)


def added(runtime: Runtime, cache: Cache, *plugins: str, version: str = "1.1.0", **keys: object) -> CacheEntry:
    """What ADD recorded."""
    runtime.add(network(*plugins, version=version, **keys), attachment(args=(("K", "v"),)))
    entry = cache.read("net", ID, "eth0")
    assert entry
    return entry


@pytest.mark.parametrize("version", NEWER)
def test_every_plugin_gets_the_final_result(runner: FakeRunner, cache: Cache, version: str) -> None:
    """H9: CHECK goes forward, and every plugin gets the last plugin's result and the parameters of ADD."""
    runner.answers["two", "ADD"] = last = result(version, "198.51.100.2/24", vendor=1)
    runtime = Runtime(runner, cache)
    entry = added(runtime, cache, "one", "two", version=version)
    additions, runner.calls = runner.calls, []
    runtime.check(entry)
    assert runner.order == [("one", "CHECK"), ("two", "CHECK")]
    assert [call.stdin["prevResult"] for call in runner.calls] == [last, last]
    for add, check in zip(additions, runner.calls, strict=True):
        assert check.env == add.env | {"CNI_COMMAND": "CHECK"}


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "0.3.1"])
def test_old_versions_have_no_check(runner: FakeRunner, cache: Cache, version: str) -> None:
    """H10: below 0.4.0 CHECK is an error, even where it is disabled."""
    runtime = Runtime(runner, cache)
    entry = added(runtime, cache, "one", version=version, disableCheck=True)
    with pytest.raises(VersionError, match="has no CHECK") as error:
        runtime.check(entry)
    assert error.value.code == 1
    assert runner.order == [("one", "ADD")]


def test_disable_check_runs_nothing(runner: FakeRunner, cache: Cache) -> None:
    """H11: disableCheck makes CHECK a success that runs nothing."""
    runtime = Runtime(runner, cache)
    runtime.check(added(runtime, cache, "one", disableCheck="true"))
    assert runner.order == [("one", "ADD")]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"adfadsfasdfasfdsafaf"])
def test_check_with_a_corrupt_cache_is_an_error(cache: Cache, content: bytes) -> None:
    """H12: with a corrupt cache there is no CHECK, for reading the entry is an error."""
    (cache.directory / "results").mkdir()
    (cache.directory / "results" / f"net-{ID}-eth0").write_bytes(content)
    with pytest.raises(CacheError):
        cache.read("net", ID, "eth0")


@pytest.mark.parametrize("config", [b"", b"{", b"{}", b'{"name":"net","plugins":[]}'])
def test_check_without_a_configuration_is_an_error(runner: FakeRunner, cache: Cache, config: bytes) -> None:
    """H12: an entry whose configuration cannot be read is an error too, and nothing runs."""
    entry = CacheEntry("net", ID, "eth0", "", config, result=result())
    with pytest.raises(CNIError):
        Runtime(runner, cache).check(entry)
    assert runner.calls == []


def test_check_without_a_result_is_an_error(runner: FakeRunner, cache: Cache) -> None:
    """H12: libcni runs CHECK without prevResult where nothing is cached; we refuse, as the specification wants one."""
    assert cache.read("net", ID, "eth0") is None
    net = network("one")
    entry = CacheEntry("net", ID, "eth0", "", net.raw, served=("fake",), owner={})
    for unfinished in (entry, replace(entry, result=result(), served=("fake", "fake"), done=1)):
        with pytest.raises(CacheError, match="ADD did not finish"):
            Runtime(runner, cache).check(unfinished)
    assert runner.calls == []


@pytest.mark.parametrize("version", NEWER)
@pytest.mark.parametrize("cached", ["0.2.0", "0.3.1", "0.4.0", "1.0.0"])
def test_a_cached_result_is_converted(runner: FakeRunner, cache: Cache, cached: str, version: str) -> None:
    """H13: a cached result of an older version reaches the plugins in the version of the configuration."""
    entry = CacheEntry("net", ID, "eth0", "", network("one", version=version).raw, result=result(cached))
    Runtime(runner, cache).check(entry)
    previous = runner.calls[0].stdin["prevResult"]
    assert previous["cniVersion"] == version
    assert previous["ips"][0]["address"] == "192.0.2.2/24"
    assert ("version" in previous["ips"][0]) == (version == "0.4.0")


def test_check_stops_at_the_first_error(runner: FakeRunner, cache: Cache) -> None:
    """CHECK ends with the first plugin that complains, with its error."""
    runtime = Runtime(runner, cache)
    entry = added(runtime, cache, "one", "two")
    runner.answers["one", "CHECK"] = PluginError("one", "CHECK", "gone", code=101)
    with pytest.raises(PluginError, match="gone"):
        runtime.check(entry)
    assert runner.order[2:] == [("one", "CHECK")]
