"""One runtime shared by many threads, and what a plugin inherits from us."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dockercni.cni import CacheEntry
from tests.unit.cni.lab import Lab, attachment, network


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A runtime over recording executables."""
    return Lab(tmp_path)


def test_threads_share_a_runtime(lab: Lab) -> None:
    """ADD and DEL of many containers at once: every one gets its own, and nothing is left or lost."""
    net = network(lab.plugin("one"), lab.plugin("two"))

    def whole_life(number: int) -> tuple[str, bool]:
        conf = attachment(container_id=f"container{number}", args=(("N", str(number)),), owner={"n": str(number)})
        lab.runtime.add(net, conf)
        entry = lab.cache.read("net", conf.container_id, "eth0")
        assert entry
        lab.runtime.delete_recorded(entry)
        return (entry.owner or {})["n"], entry.complete

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(whole_life, range(24)))
    assert outcomes == [(str(number), True) for number in range(24)]
    assert lab.cached == []
    assert len(lab.calls) == 24 * 4
    for call in lab.calls:
        assert call.env["CNI_ARGS"] == "N=" + call.env["CNI_CONTAINERID"].removeprefix("container")
    # a descriptor of another thread's plugin would keep that one's output open
    assert {json.loads(line)["fds"] for line in lab.record.read_text().splitlines()} == {3}


def test_listing_while_others_write(lab: Lab) -> None:
    """Whoever lists the entries meanwhile sees whole ones only, never an error."""
    net = network(lab.plugin("one"))

    def attach(number: int) -> None:
        conf = attachment(container_id=f"container{number}")
        lab.runtime.add(net, conf)
        lab.runtime.delete(net, conf)

    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(attach, number) for number in range(12)]
        while not all(future.done() for future in working):
            assert all(isinstance(entry, CacheEntry) for entry in lab.cache.entries())
    for future in working:
        future.result()


def test_a_plugin_has_a_session_of_its_own(lab: Lab) -> None:
    """A plugin is not in our process group: Ctrl-C does not end half a chain."""
    lab.runtime.add(network(lab.plugin("one")), attachment())
    call = json.loads(lab.record.read_text())
    assert call["pgid"] == call["pid"] != os.getpgrp()


def test_only_what_is_handed_over_is_inherited(lab: Lab) -> None:
    """Of our descriptors a plugin gets its three, and those of `inherit` (a lock that outlives us)."""
    open_anyway = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(open_anyway, True)
    try:
        with (lab.directory / "lock").open("w") as lock:
            net = network(lab.plugin("one"))
            lab.runtime.add(net, attachment(inherit=(lock.fileno(),)))
            lab.runtime.status(net)
    finally:
        os.close(open_anyway)
    assert [json.loads(line)["fds"] for line in lab.record.read_text().splitlines()] == [4, 3]
