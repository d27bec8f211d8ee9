"""Cache directories that cannot be written: refused before the first plugin runs, or taken back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockercni.cni import Cache, CacheError, Runtime
from tests.hosts import Host
from tests.unit.cni.lab import ID, FakeRunner, attachment, network, result

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A private host, without an engine."""
    with Host() as started:
        yield started


@pytest.fixture
def directory(host: Host) -> Iterator[Path]:
    """A small file system of its own in the host: 16 pages, one of which its root needs."""
    host.run("mkdir", "-p", "/run/cache")
    host.run("mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=16,mode=700", "tmpfs", "/run/cache")
    yield host.path("/run/cache")
    host.run("umount", "/run/cache")


def fill(directory: Path) -> None:
    """Take all the space there is."""
    with (directory / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def files(directory: Path) -> list[str]:
    """What stands in the directory, but for the filler."""
    return sorted(path.name for path in directory.rglob("*") if path.name != "filler")


def test_a_full_directory_is_refused_first(directory: Path) -> None:
    """ADD into a full cache directory runs nothing, and leaves no half-written file."""
    (directory / "results").mkdir()
    fill(directory)
    runner = FakeRunner()
    with pytest.raises(CacheError, match="No space left on device"):
        Runtime(runner, Cache(directory)).add(network("one"), attachment())
    assert runner.calls == []
    assert files(directory) == ["results"]


def test_a_directory_without_inodes_is_refused_first(directory: Path) -> None:
    """The same where there is space, and no room for another file."""
    (directory / "results").mkdir()
    made = 0
    try:
        while True:
            (directory / f"filler{made}").touch()
            made += 1
    except OSError:
        pass
    runner = FakeRunner()
    with pytest.raises(CacheError, match="No space left on device"):
        Runtime(runner, Cache(directory)).add(network("one"), attachment())
    assert runner.calls == []


def test_a_read_only_directory_is_refused_first(host: Host, directory: Path) -> None:
    """ADD into a read-only cache directory runs nothing; what stands there can still be read."""
    before = Cache(directory)
    Runtime(FakeRunner(), before).add(network("one"), attachment(ifname="eth9"))
    host.run("mount", "-o", "remount,ro", "/run/cache")
    runner = FakeRunner()
    runtime, cache = Runtime(runner, Cache(directory)), Cache(directory)
    with pytest.raises(CacheError, match="Read-only file system"):
        runtime.add(network("one"), attachment())
    assert runner.calls == []
    assert cache.read("net", ID, "eth9")
    with pytest.raises(CacheError, match=r"cannot remove .*Read-only file system"):
        runtime.delete(network("one"), attachment(ifname="eth9"))
    assert cache.read("net", ID, "eth9")


def test_a_directory_that_fills_up_meanwhile_is_taken_back(directory: Path) -> None:
    """If the result does not fit any more, ADD takes the attachment back, and the entry goes, which needs no space."""
    big = result(vendor="x" * 100_000)
    runner = FakeRunner({("one", "ADD"): big})
    with pytest.raises(CacheError, match="No space left on device") as error:
        Runtime(runner, Cache(directory)).add(network("one", "two"), attachment())
    assert runner.order == [("one", "ADD"), ("two", "DEL"), ("one", "DEL")]
    assert not hasattr(error.value, "__notes__")
    assert files(directory) == ["results"]
