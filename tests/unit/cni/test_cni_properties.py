"""Arbitrary configurations, outputs and cache entries: nothing but CNIError, and no write outside the directories."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockercni.cni import (
    Cache,
    CacheEntry,
    CNIError,
    ExecRunner,
    Runtime,
    RuntimeConf,
    load_directory,
    parse_list,
    parse_plugin,
)
from tests.unit.cni.lab import FakeRunner, network, result

NAMES = """
name cniVersion cniVersions plugins type capabilities ipam dns disableCheck kind config ifName networkName netns
containerId cniArgs capabilityArgs result dockercni schema served done owner ips ip4 ip6 address interfaces routes dst
gw mac sandbox code msg details supportedVersions
"""
KEYS = st.sampled_from(NAMES.split())
WORDS = st.sampled_from(
    ["net", "c1", "eth0", "1.0.0", "0.2.0", "cniCacheV1", "e30=", "192.0.2.2/24", "::/0", "../../x"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | WORDS
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=6)
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=12)
DOCUMENTS = st.binary(max_size=200) | (OBJECTS | JSON).map(lambda value: json.dumps(value).encode())

# a whole entry and a whole configuration, of which something is replaced: most random objects fail at the first key
ENTRY: dict[str, Any] = {
    "kind": "cniCacheV1",
    "containerId": "c1",
    "config": "eyJuYW1lIjoibmV0IiwiY25pVmVyc2lvbiI6IjEuMC4wIiwicGx1Z2lucyI6W3sidHlwZSI6Im9uZSJ9XX0=",
    "ifName": "eth0",
    "networkName": "net",
    "netns": "/run/netns/c1",
    "cniArgs": [["K", "v"]],
    "capabilityArgs": {"mac": "02:00:00:00:00:01"},
    "result": result("1.0.0"),
    "dockercni": {"schema": 1, "served": ["fake"], "done": 1, "owner": {}},
}
CONF: dict[str, Any] = {
    "name": "net",
    "cniVersion": "1.0.0",
    "plugins": [{"type": "one", "capabilities": {"mac": True}, "ipam": {"type": "two"}, "dns": {"search": []}}],
}


def altered(whole: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """The document with one of its values replaced, or cut off somewhere."""
    replaced = st.tuples(st.sampled_from(sorted(whole)), JSON).map(lambda pair: json.dumps({**whole, pair[0]: pair[1]}))
    text = json.dumps(whole)
    cut = st.integers(0, len(text)).map(lambda end: text[:end])
    return (replaced | cut).map(str.encode)


@contextmanager
def directories() -> Iterator[tuple[Path, Callable[[], None]]]:
    """A cache directory within a tree; and the check that nothing of the tree beyond it has changed."""
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        cache = tree / "var" / "cache"
        (cache / "results").mkdir(parents=True)
        for witness in (tree / "x-c1-eth0", tree / "var" / "x-c1-eth0", cache / "x-c1-eth0"):
            witness.write_text("untouched")

        def outside() -> list[tuple[Path, int, bytes]]:
            paths = [path for path in sorted(tree.rglob("*")) if cache / "results" not in path.parents]
            return [(path, path.lstat().st_mode, path.read_bytes() if path.is_file() else b"") for path in paths]

        before = outside()

        def unchanged() -> None:
            assert outside() == before

        yield cache, unchanged


def only_cni_errors(work: Callable[[], Any]) -> Any:
    """What it returns, or the CNIError; nothing else may be raised."""
    try:
        return work()
    except CNIError as error:
        str(error)
        return error


@given(DOCUMENTS | altered(CONF))
@settings(max_examples=100, deadline=None)
def test_any_configuration(data: bytes) -> None:
    """Any bytes as a configuration are a network that can be added, or a CNIError; files are as good as bytes."""
    with directories() as (cache, unchanged):
        files = cache / "results" / "net.d"
        files.mkdir()
        for name in ("a.conflist", "b.conf", "c.json"):
            (files / name).write_bytes(data)
        directory = load_directory(files)
        assert len(directory.files) == 3
        assert all(str(error).isprintable() for error in directory.broken)
        for parse in (parse_list, parse_plugin):
            net = only_cni_errors(partial(parse, data))
            if isinstance(net, CNIError):
                continue
            runtime = Runtime(FakeRunner(), Cache(cache))
            conf = RuntimeConf("c1", "/run/netns/c1", f"eth{parse is parse_list:d}", capability_args={"mac": "x"})
            for work in (runtime.add, runtime.delete):
                only_cni_errors(partial(work, net, conf))
        unchanged()


@given(DOCUMENTS | altered(result("1.1.0")), st.sampled_from(["0.1.0", "0.4.0", "1.1.0"]))
@settings(max_examples=150, deadline=None)
def test_any_output(data: bytes, version: str) -> None:
    """Whatever a plugin prints to any verb, each verb ends in its result or a CNIError, and DEL forgets the entry."""
    with directories() as (directory, unchanged):
        cache = Cache(directory)
        verbs = ("ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION")
        runner = FakeRunner({("one", verb): data for verb in verbs})
        runtime, net = Runtime(runner, cache), network("one", "two", version=version)
        conf = RuntimeConf("c1", "/run/netns/c1", "eth0")
        added = only_cni_errors(lambda: runtime.add(net, conf))
        entry = cache.read("net", "c1", "eth0")
        assert (entry is None) == isinstance(added, CNIError)
        if entry:
            only_cni_errors(lambda: runtime.check(entry))
        for work in (runtime.status, runtime.validate, lambda net: runtime.gc(net, [("c1", "eth0")])):
            only_cni_errors(partial(work, net))
        only_cni_errors(lambda: runtime.delete(net, conf))
        assert list(cache.entries()) == []
        unchanged()


@given(DOCUMENTS | altered(ENTRY))
@settings(max_examples=150, deadline=None)
def test_any_cache_entry(data: bytes) -> None:
    """Any bytes as a cache entry are an entry of that name or a CacheError, and no verb leads out of the cache."""
    with directories() as (directory, unchanged):
        file = directory / "results" / "net-c1-eth0"
        file.write_bytes(data)
        cache = Cache(directory)
        runtime, net = Runtime(FakeRunner(), cache), network("one")
        only_cni_errors(lambda: cache.read("net", "c1", "eth0"))
        found, broken = list(cache.entries()), cache.broken()
        assert len(found) + len(broken) == 1
        for entry in found:
            assert entry.file_name == file.name
            only_cni_errors(partial(runtime.check, entry))
            only_cni_errors(partial(runtime.delete_recorded, entry))
        assert all(str(error).isprintable() for error in broken)
        only_cni_errors(lambda: runtime.gc(net, []))
        only_cni_errors(lambda: runtime.delete(net, RuntimeConf("c1", "", "eth0")))
        assert not [path for path in (directory / "results").iterdir() if path != file]
        unchanged()


@given(st.text(max_size=20) | WORDS, st.text(max_size=20) | WORDS, st.text(max_size=20) | WORDS, st.text(max_size=8))
@settings(max_examples=150, deadline=None)
def test_any_names(container_id: str, ifname: str, netns: str, arg: str) -> None:
    """Any names and arguments end in a CNIError or an attachment, and none of them leads out of the cache."""
    with directories() as (directory, unchanged):
        cache = Cache(directory)
        runtime, net = Runtime(FakeRunner(), cache), network("one")
        conf = RuntimeConf(container_id, netns, ifname, args=((arg, arg),))
        for work in (runtime.add, runtime.delete):
            only_cni_errors(partial(work, net, conf))
        only_cni_errors(lambda: cache.read("net", container_id, ifname))
        only_cni_errors(lambda: cache.write(CacheEntry("net", container_id, ifname, netns, b"")))
        unchanged()


@pytest.fixture(scope="module")
def printer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real executable that prints what stands beside it, and ends with the status that stands beside it."""
    directory = tmp_path_factory.mktemp("printer")
    (directory / "one").write_text('#!/bin/sh\ncd "${0%/*}" && cat output && exit "$(cat status)"\n')
    (directory / "one").chmod(0o755)
    return directory


@given(DOCUMENTS, st.integers(0, 255))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_output_of_an_executable(printer: Path, data: bytes, status: int) -> None:
    """The same through a real process: any output with any exit status is a result or a CNIError."""
    (printer / "output").write_bytes(data)
    (printer / "status").write_text(str(status))
    with directories() as (directory, unchanged):
        runtime = Runtime(ExecRunner([printer], 20), Cache(directory))
        outcome = only_cni_errors(lambda: runtime.add(network("one"), RuntimeConf("c1", "/x", "eth0")))
        assert status == 0 or isinstance(outcome, CNIError)
        unchanged()
