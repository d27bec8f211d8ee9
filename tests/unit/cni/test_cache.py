"""The cache: libcni's files, read and written byte for byte, and what ours adds to them."""

from __future__ import annotations

import base64
import json
import os
import stat
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dockercni.cni import Cache, CacheEntry, CacheError

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = b'{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"bridge"}]}'
RESULT = {"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.2/24", "interface": 1}]}

# As libcni 1.2 writes it; the keys in its order.
LIBCNI = (
    b'{"kind":"cniCacheV1","containerId":"id","config":"'
    + base64.b64encode(CONFIG)
    + b'","ifName":"eth0","networkName":"net","netns":"/run/netns/x","cniArgs":[["IgnoreUnknown","1"],["A","b"]],'
    b'"capabilityArgs":{"portMappings":[{"containerPort":80,"hostPort":8080,"protocol":"tcp"}]},'
    b'"result":{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.2/24","interface":1}]}}'
)
ENTRY = CacheEntry(
    network="net",
    container_id="id",
    ifname="eth0",
    netns="/run/netns/x",
    config=CONFIG,
    args=(("IgnoreUnknown", "1"), ("A", "b")),
    capability_args={"portMappings": [{"containerPort": 80, "hostPort": 8080, "protocol": "tcp"}]},
    result=RESULT,
)
OURS = replace(ENTRY, served=("exec", "builtin"), done=1, owner={"engine": "e"})


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache."""
    return Cache(tmp_path / "cni")


def raw(cache: Cache, entry: CacheEntry = ENTRY) -> bytes:
    """The bytes of an entry's file."""
    return (cache.directory / "results" / entry.file_name).read_bytes()


def put(cache: Cache, data: bytes, name: str = "net-id-eth0") -> None:
    """A file that somebody else wrote."""
    (cache.directory / "results").mkdir(parents=True, exist_ok=True)
    (cache.directory / "results" / name).write_bytes(data)


def test_written_as_libcni_does(cache: Cache) -> None:
    """Without our own object the file is libcni's, byte for byte."""
    cache.write(ENTRY)
    assert raw(cache) == LIBCNI


def test_read_what_libcni_wrote(cache: Cache) -> None:
    """A file of libcni's is read whole, and is nobody's of ours."""
    put(cache, LIBCNI)
    assert cache.read("net", "id", "eth0") == ENTRY
    assert list(cache.entries()) == [ENTRY]


def test_ours_is_one_more_key(cache: Cache) -> None:
    """What ours adds stands in one object, which libcni ignores; the rest is the same bytes."""
    cache.write(OURS)
    assert raw(cache).startswith(LIBCNI[:-1] + b',"dockercni":{"schema":1,')
    assert cache.read("net", "id", "eth0") == OURS


def test_ahead_of_the_result(cache: Cache) -> None:
    """An entry without result, arguments and namespace leaves their keys out, as libcni does, and is incomplete."""
    ahead = CacheEntry("net", "id", "eth0", "", CONFIG, served=("exec",), owner={})
    cache.write(ahead)
    assert set(json.loads(raw(cache))) == {"kind", "containerId", "config", "ifName", "networkName", "dockercni"}
    assert cache.read("net", "id", "eth0") == ahead
    assert not ahead.complete
    assert replace(ahead, result=RESULT, done=1).complete


def test_permissions(cache: Cache) -> None:
    """Directory 0700, file 0600, and no temporary file left."""
    cache.write(ENTRY)
    results = cache.directory / "results"
    assert stat.S_IMODE(results.stat().st_mode) == 0o700
    assert stat.S_IMODE((results / ENTRY.file_name).stat().st_mode) == 0o600
    assert [path.name for path in cache.directory.iterdir()] == ["results"]


def test_new_refuses_what_is_there(cache: Cache) -> None:
    """With `new`, whatever stands in the file's place is left alone and said: a file, a broken one, a dangling link."""
    cache.write(ENTRY, new=True)
    with pytest.raises(CacheError, match="attached to network net as eth0 already"):
        cache.write(OURS, new=True)
    assert raw(cache) == LIBCNI
    (cache.directory / "results" / "net-id-eth1").symlink_to("/nowhere")
    with pytest.raises(CacheError, match="exists"):
        cache.write(replace(ENTRY, ifname="eth1"), new=True)


def test_names_that_add_up(cache: Cache) -> None:
    """Two attachments whose parts add up to the same file name are not taken for each other."""
    cache.write(replace(ENTRY, network="a-b", container_id="c"))
    assert cache.read("a", "b-c", "eth0") is None
    assert list(cache.entries("b-c")) == []
    assert [entry.network for entry in cache.entries("c") if isinstance(entry, CacheEntry)] == ["a-b"]
    assert cache.read("..", "x/../y", "eth0") is None


def test_name_of_the_built_in_backend(cache: Cache) -> None:
    """Files call it "native", as 0.1.0 does, which would take "builtin" for an executable after a downgrade."""
    cache.write(OURS)
    assert json.loads(raw(cache))["dockercni"]["served"] == ["exec", "native"]
    (found,) = cache.entries()
    assert found == OURS
    put(cache, raw(cache).replace(b'"native"', b'"builtin"'))
    (found,) = cache.entries()
    assert found == OURS


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"kind":"cniCacheV2"}',
        b'{"cniVersion":"1.0.0"}',
        LIBCNI.replace(b'"kind":"cniCacheV1"', b'"kind":"other"'),
        LIBCNI.replace(b'"config":"', b'"config":"*'),
        LIBCNI.replace(b'"ifName":"eth0",', b""),
        LIBCNI[:-1] + b',"dockercni":{"schema":2,"served":[],"done":0,"owner":{}}}',
        LIBCNI[:-1] + b',"dockercni":{"schema":1}}',
    ],
)
def test_unreadable(cache: Cache, data: bytes) -> None:
    """A file that cannot be understood is an error that names it, and hides no other."""
    put(cache, data)
    cache.write(replace(ENTRY, ifname="eth1"))
    with pytest.raises(CacheError, match="results/net-id-eth0"):
        cache.read("net", "id", "eth0")
    assert [entry.ifname for entry in cache.entries()] == ["eth1"]
    assert len(cache.broken()) == 1


def test_not_regular(cache: Cache) -> None:
    """Links, directories and fifos are refused, not followed."""
    put(cache, LIBCNI, "target")
    (cache.directory / "results" / "net-id-eth0").symlink_to("target")
    (cache.directory / "results" / "net-id-eth1").mkdir()
    for ifname in ("eth0", "eth1"):
        with pytest.raises(CacheError):
            cache.read("net", "id", ifname)


def test_remove_and_sweep(cache: Cache) -> None:
    """Removing twice is success; what killed writers left is swept, entries and what others write now are not."""
    cache.write(ENTRY)
    cache.write(replace(ENTRY, ifname="eth1"))
    for _ in range(2):
        cache.remove(ENTRY)
    for writer in ("abc", "4194305-abc", "1-abc"):  # no pid is that large, and process 1 lives
        (cache.directory / f".cache-entry-{writer}").touch()
    cache.sweep()
    assert sorted(path.name for path in cache.directory.rglob("*")) == [".cache-entry-1-abc", "net-id-eth1", "results"]


def test_missing_directory(cache: Cache) -> None:
    """A cache that was never written to is empty."""
    assert list(cache.entries()) == []
    assert cache.read("net", "id", "eth0") is None
    cache.remove(ENTRY)
    cache.sweep()


def test_cannot_write(tmp_path: Path) -> None:
    """Where nothing can be written the error names the file."""
    (tmp_path / "cni").touch()
    with pytest.raises(CacheError, match="results/net-id-eth0"):
        Cache(tmp_path / "cni").write(ENTRY)


def test_a_change_within_one_tick(tmp_path: Path) -> None:
    """An entry shows from its writing on, also where the file system's clock stood still since the last listing."""
    cache, other = Cache(tmp_path / "cni"), Cache(tmp_path / "cni")
    now = time.time_ns()
    for number in range(3):
        other.write(replace(ENTRY, container_id=f"id{number}"))
        os.utime(cache.directory / "results", ns=(now, now))
        assert len(list(cache.entries())) == number + 1


def test_listed_once(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that nobody has changed for a while is not listed again."""
    cache.write(ENTRY)
    hour = 3600 * 10**9
    os.utime(cache.directory / "results", ns=(hour, hour))
    assert list(cache.entries()) == [ENTRY]
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", lambda _: pytest.fail("listed again"))
        assert list(cache.entries()) == [ENTRY]
    cache.write(replace(ENTRY, container_id="id2"))
    assert len(list(cache.entries())) == 2
