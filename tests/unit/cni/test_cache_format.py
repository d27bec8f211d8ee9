"""The cache against libcni's format, byte by byte: what libcni writes we read, what we write libcni reads."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from dockercni.cni import Cache, CacheEntry, CacheError, EntryTooNew, Runtime, RuntimeConf, parse_list
from dockercni.cni.cache import MAX_BYTES
from tests.unit.cni.lab import FakeRunner

CONFLIST = b'{"cniVersion":"0.4.0","name":"net","plugins":[{"type":"one","capabilities":{"portMappings":true}}]}'
# what libcni writes for container "c1" on that network as eth0, with an argument and a port, to the last byte
CONFIG = (
    b"eyJjbmlWZXJzaW9uIjoiMC40LjAiLCJuYW1lIjoibmV0IiwicGx1Z2lucyI6W3sidHlwZSI6Im9uZSIsImNhcGFiaWxpdGllcyI6eyJw"
    b"b3J0TWFwcGluZ3MiOnRydWV9fV19"
)
HEAD = (
    b'{"kind":"cniCacheV1","containerId":"c1","config":"' + CONFIG + b'","ifName":"eth0","networkName":"net",'
    b'"netns":"/run/netns/c1","cniArgs":[["IgnoreUnknown","1"],["K","v"]],'
    b'"capabilityArgs":{"portMappings":[{"containerPort":80,"hostPort":8080}]}'
)
RESULT = (
    b'"result":{"cniVersion":"0.4.0","dns":{},"interfaces":[{"name":"eth0","sandbox":"/run/netns/c1"}],'
    b'"ips":[{"address":"10.1.0.2/16","gateway":"10.1.0.1","interface":0,"version":"4"}],"routes":[{"dst":"0.0.0.0/0"}]}'
)
LIBCNI = HEAD + b"," + RESULT + b"}"
OURS = b'"dockercni":{"schema":1,"served":["fake"],"done":1,"owner":{"by":"test"}}'
ARGS = (("IgnoreUnknown", "1"), ("K", "v"))
CAPABILITY_ARGS = {"portMappings": [{"containerPort": 80, "hostPort": 8080}]}


class LibcniReader:
    """Reads an entry as libcni does: the keys that it knows, with the types that it wants."""

    def __init__(self, data: bytes) -> None:
        known: dict[str, type | tuple[type, ...]] = {
            "kind": str,
            "containerId": str,
            "config": str,
            "ifName": str,
            "networkName": str,
            "netns": str,
            "cniArgs": list,
            "capabilityArgs": dict,
            "result": dict,
        }
        document = json.loads(data)
        self.values: dict[str, Any] = {key: document[key] for key in known if key in document}
        for key, value in self.values.items():
            assert isinstance(value, known[key]), key
        assert self.values["kind"] == "cniCacheV1"
        self.values["config"] = base64.b64decode(self.values["config"])


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The directory of the entries."""
    (tmp_path / "results").mkdir(mode=0o700)
    return tmp_path / "results"


@pytest.fixture
def cache(results: Path) -> Cache:
    """The cache above it."""
    return Cache(results.parent)


def test_what_libcni_writes_is_read(cache: Cache, results: Path) -> None:
    """Every key of an entry of libcni's is read, and the entry is known to be another runtime's."""
    (results / "net-c1-eth0").write_bytes(LIBCNI)
    entry = cache.read("net", "c1", "eth0")
    assert entry == CacheEntry(
        network="net",
        container_id="c1",
        ifname="eth0",
        netns="/run/netns/c1",
        config=CONFLIST,
        args=ARGS,
        capability_args=CAPABILITY_ARGS,
        result=json.loads(b"{" + RESULT + b"}")["result"],
    )
    assert entry.owner is None
    assert entry.complete
    assert list(cache.entries()) == list(cache.entries("c1")) == [entry]
    assert entry.network_list() == parse_list(CONFLIST)


def test_what_libcni_writes_is_taken_back(cache: Cache, results: Path) -> None:
    """DEL and CHECK of an attachment that libcni made have its result, arguments and namespace."""
    (results / "net-c1-eth0").write_bytes(LIBCNI)
    runner = FakeRunner()
    runtime, entry = Runtime(runner, cache), cache.read("net", "c1", "eth0")
    assert entry
    runtime.check(entry)
    runtime.delete_recorded(entry)
    assert runner.order == [("one", "CHECK"), ("one", "DEL")]
    for call in runner.calls:
        assert call.stdin["prevResult"] == entry.result
        assert call.stdin["runtimeConfig"] == CAPABILITY_ARGS
        assert (call.env["CNI_ARGS"], call.env["CNI_NETNS"]) == ("IgnoreUnknown=1;K=v", "/run/netns/c1")
    assert list(results.iterdir()) == []


def attach(cache: Cache, *answers: Any) -> Path:
    """ADD the same attachment through our runtime; the file that records it."""
    runner = FakeRunner({("one", "ADD"): b"{" + RESULT.removeprefix(b'"result":{')})
    conf = RuntimeConf("c1", "/run/netns/c1", "eth0", ARGS, CAPABILITY_ARGS, {"by": "test"})
    Runtime(runner, cache).add(parse_list(CONFLIST), conf)
    return cache.directory / "results" / "net-c1-eth0"


def test_what_we_write_is_libcnis_and_our_object(cache: Cache) -> None:
    """After ADD the file is what libcni would have written, and one key more, which libcni ignores."""
    file = attach(cache)
    assert file.read_bytes() == HEAD + b"," + RESULT + b"," + OURS + b"}"
    assert LibcniReader(file.read_bytes()).values == LibcniReader(LIBCNI).values


def test_before_the_first_plugin_there_is_no_result(cache: Cache, results: Path) -> None:
    """While the first plugin runs, the entry has all but the result: enough for a DEL."""
    seen = []

    class Looking(FakeRunner):
        def run(self, call: Any) -> Any:
            seen.append((results / "net-c1-eth0").read_bytes())
            return super().run(call)

    conf = RuntimeConf("c1", "/run/netns/c1", "eth0", ARGS, CAPABILITY_ARGS, {"by": "test"})
    Runtime(Looking(), cache).add(parse_list(CONFLIST), conf)
    assert seen == [HEAD + b"," + OURS.replace(b'"done":1', b'"done":0') + b"}"]
    assert "result" not in LibcniReader(seen[0]).values


def test_without_an_owner_it_is_libcnis_file(cache: Cache, results: Path) -> None:
    """An entry without owner, as read from libcni's file, is written back byte by byte."""
    (results / "net-c1-eth0").write_bytes(LIBCNI)
    entry = cache.read("net", "c1", "eth0")
    assert entry
    cache.write(entry)
    assert (results / "net-c1-eth0").read_bytes() == LIBCNI


def test_what_is_empty_is_left_out(cache: Cache, results: Path) -> None:
    """As in libcni, no namespace, no arguments and no result leave no keys; Go's null for no bytes is read."""
    cache.write(CacheEntry("net", "c1", "eth0", "", b""))
    head = b'{"kind":"cniCacheV1","containerId":"c1","config":'
    tail = b',"ifName":"eth0","networkName":"net"}'
    assert (results / "net-c1-eth0").read_bytes() == head + b'""' + tail
    for config in (b"null", b'""'):
        nulls = b',"netns":null,"cniArgs":null,"capabilityArgs":null,"result":null}'
        (results / "net-c1-eth0").write_bytes(head + config + tail[:-1] + nulls)
        assert cache.read("net", "c1", "eth0") == CacheEntry("net", "c1", "eth0", "", b"")


def test_modes(tmp_path: Path) -> None:
    """As libcni's, the directories are 0700 and the files 0600, whatever the umask; nothing else is left there."""
    before = os.umask(0)
    try:
        file = attach(Cache(tmp_path / "cache"))
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (file, file.parent, file.parent.parent)}
    assert modes == {"net-c1-eth0": 0o600, "results": 0o700, "cache": 0o700}
    assert [path.name for path in (tmp_path / "cache").rglob("*")] == ["results", "net-c1-eth0"]


def symlink(path: Path) -> None:
    path.symlink_to("elsewhere")


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)


NEWER = LIBCNI[:-1] + b"," + OURS.replace(b'"schema":1', b'"schema":2') + b"}"
ELSEWHERE = LIBCNI.replace(b'"networkName":"net"', b'"networkName":"../../net"')


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (LIBCNI[:-1], "expecting"),
        (LIBCNI[:100], "unterminated"),
        (b"[]", "Expected `object`"),
        (b"null", "Expected `object`"),
        (b'"text"', "Expected `object`"),
        (b"\xff\xfe", "expecting"),
        (b"{}", "missing required field"),
        (LIBCNI.replace(b"cniCacheV1", b"cniCacheV2"), 'its kind is "cniCacheV2", not "cniCacheV1"'),
        (LIBCNI.replace(b'"cniCacheV1"', b'"a\\nb"'), 'its kind is "a\\nb"'),
        (LIBCNI.replace(b'"cniCacheV1"', b"7"), "Expected `str`"),
        (LIBCNI.replace(CONFIG, b"?"), "Only base64 data"),
        (LIBCNI.replace(CONFIG, "é".encode()), "only ASCII"),
        (LIBCNI.replace(b'["K","v"]', b'["K"]'), "length 2"),
        (LIBCNI.replace(b'"net"', b'"other"'), "it says that it is other-c1-eth0"),
        (ELSEWHERE, "it says that it is ../../net-c1-eth0"),
        (LIBCNI[:-1] + b',"dockercni":{"schema":1}}', "missing required field"),
        (LIBCNI[:-1] + b',"dockercni":7}', "Expected `object`"),
        (NEWER, "it was written by a newer version (schema 2; this one knows 1)"),
        (LIBCNI[:-1] + b',"dockercni":{"schema":2,"served":7}}', "it was written by a newer version"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "nested"),
        (symlink, "it is a symbolic link"),
        (Path.mkdir, "not a regular file"),
        (os.mkfifo, "not a regular file"),
        (sparse, "larger than"),
    ],
)
def test_what_is_no_entry_is_one_clear_error(cache: Cache, results: Path, content: Any, problem: str) -> None:
    """What cannot be read is a CacheError of one line that names the file, and the directory is as before."""
    file = results / "net-c1-eth0"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        content(file)
    before = [(path.name, path.lstat()) for path in sorted(results.parent.rglob("*"))]
    with pytest.raises(CacheError) as error:
        cache.read("net", "c1", "eth0")
    found = [*cache.broken(), *cache.broken("c1")]
    assert [str(each) for each in found] == [str(error.value)] * 2
    assert str(file) in str(error.value)
    assert problem in str(error.value)
    assert str(error.value).isprintable()
    assert isinstance(error.value, EntryTooNew) == ("newer version" in problem)

    def unread(status: os.stat_result) -> tuple[int, ...]:
        return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns

    after = [(path.name, path.lstat()) for path in sorted(results.parent.rglob("*"))]
    assert [(name, unread(status)) for name, status in after] == [(name, unread(status)) for name, status in before]


@pytest.mark.parametrize("content", [b"{", LIBCNI, NEWER, symlink, Path.mkdir])
def test_add_never_replaces_an_entry(cache: Cache, results: Path, content: Any) -> None:
    """Whatever stands in the place of the entry, ADD is refused and leaves it there."""
    file = results / "net-c1-eth0"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        content(file)
    before = file.lstat()
    with pytest.raises(CacheError, match="exists"):
        attach(cache)
    assert file.lstat() == before


def test_a_broken_entry_hides_no_other(cache: Cache, results: Path) -> None:
    """entries() goes on after a file that cannot be read, and reports it in its turn."""
    good = attach(cache)
    (results / "a-c1-b").write_bytes(b"{")
    (results / "z-c1-b").write_bytes(b'{"ip4":{"ip":"192.0.2.2/24"}}')
    found: list[CacheEntry | CacheError] = []
    for entry in cache.entries("c1", found.append):
        found.append(entry)  # noqa: PERF402  both append
    first, second, third = found
    assert isinstance(first, CacheError)
    assert isinstance(second, CacheEntry)
    assert second.file_name == good.name
    assert isinstance(third, CacheError)
    assert "is a bare result and does not say whose" in str(third)


@pytest.mark.parametrize("blocked", ["", "results"])
def test_a_directory_that_is_none_is_an_error(tmp_path: Path, blocked: str) -> None:
    """Where the cache or its results are no directory, reading, listing and writing are CacheErrors."""
    (tmp_path / "cache" / blocked).parent.mkdir(exist_ok=True)
    (tmp_path / "cache" / blocked).write_text("")
    cache = Cache(tmp_path / "cache")
    assert len(cache.broken()) == 1
    with pytest.raises(CacheError):
        cache.read("net", "c1", "eth0")
    with pytest.raises(CacheError):
        cache.write(CacheEntry("net", "c1", "eth0", "", b""))
    cache.sweep()


def test_sweep_removes_what_killed_writers_left(cache: Cache, results: Path) -> None:
    """Half-written files stand beside results/, where libcni does not look, and sweep removes them alone."""
    attach(cache)
    (cache.directory / ".cache-entry-abc").write_bytes(b"half")
    (cache.directory / "networks").mkdir()
    cache.sweep()
    assert sorted(path.name for path in cache.directory.rglob("*")) == ["net-c1-eth0", "networks", "results"]


@pytest.mark.parametrize("content", [symlink, Path.mkdir, os.mkfifo, sparse])
def test_reading_leaves_no_descriptor_open(cache: Cache, results: Path, content: Any) -> None:
    """A daemon that looks at such a file again and again does not run out of descriptors."""
    content(results / "net-c1-eth0")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        assert len(cache.broken()) == 1
    assert len(os.listdir("/proc/self/fd")) == before
