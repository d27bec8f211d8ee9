"""Records: which cache entries are ours, and of which engine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dockercni.cni import Cache, CacheEntry, CacheError
from dockercni.model import NetnsId
from dockercni.reconcile.records import AD_HOC, BY_PATH, others, owner, record, records

if TYPE_CHECKING:
    from pathlib import Path

LIFE = NetnsId("boot", "7")
ENTRY = CacheEntry(
    network="net",
    container_id="web-id",
    ifname="eth0",
    netns="/run/netns/x",
    config=b"{}",
    result={"cniVersion": "1.0.0"},
    served=("exec",),
    done=1,
    owner=owner(LIFE, "engine-1", "web"),
)


def test_round_trip() -> None:
    """What was written as owner is read back as an attachment."""
    found = record(ENTRY)
    assert found
    assert found.entry is ENTRY
    assert found.attachment.key == ("net", "web-id", "eth0")
    assert (found.attachment.netns_id, found.attachment.complete) == (LIFE, True)
    assert (found.attachment.ad_hoc, found.attachment.path) == (False, "")


@pytest.mark.parametrize(("by", "ad_hoc", "path"), [(AD_HOC, True, ""), (BY_PATH, False, "/run/netns/x")])
def test_ad_hoc(by: str, ad_hoc: bool, path: str) -> None:
    """Attachments by hand are told apart, and those of a path have it."""
    found = record(replace(ENTRY, owner=owner(LIFE, "engine-1", "web", by)))
    assert found
    assert (found.attachment.ad_hoc, found.attachment.path) == (ad_hoc, path)


@pytest.mark.parametrize("change", [{"done": 0}, {"result": None, "done": 0}])
def test_incomplete(change: dict[str, object]) -> None:
    """An ADD that did not get through the list is incomplete."""
    found = record(replace(ENTRY, **change))
    assert found
    assert not found.attachment.complete


def test_of_another_runtime() -> None:
    """An entry without our object is not ours."""
    assert record(replace(ENTRY, owner=None)) is None


def test_whose(tmp_path: Path) -> None:
    """Records of another engine's containers and of other runtimes are left out; those of paths and files that cannot
    be read are not."""
    cache = Cache(tmp_path)
    cache.write(ENTRY)
    cache.write(replace(ENTRY, container_id="other-engine", owner=owner(LIFE, "engine-2", "x")))
    cache.write(replace(ENTRY, container_id="kubelet", owner=None))
    cache.write(replace(ENTRY, container_id="lab", owner=owner(LIFE, "", "lab", BY_PATH)))
    (tmp_path / "results" / "zz-broken-eth0").write_text("{")
    broken: list[CacheError] = []
    found = list(records(cache, "engine-1", broken=broken.append))
    assert len(broken) == 1
    assert [one.attachment.container_id for one in found] == ["lab", "web-id"]
    (only,) = records(cache, "engine-1", "web-id")
    assert only.attachment.container_id == "web-id"


def test_two_engines_with_one_id(tmp_path: Path) -> None:
    """The engine is its data root, too: what the other one's containers have is not this one's. A record of an
    earlier version says no root, and belongs to whoever has the id."""
    cache = Cache(tmp_path)
    for number, mark in enumerate(("ID@/var/lib/docker", "ID@/srv/docker", "ID")):
        cache.write(replace(ENTRY, container_id=f"c{number}", owner=owner(LIFE, mark, "web")))
    found = {
        mark: [one.attachment.container_id for one in records(cache, mark)]
        for mark in ("ID@/var/lib/docker", "ID@/srv/docker", "ID", "X@/srv/docker")
    }
    assert found == {
        "ID@/var/lib/docker": ["c0", "c2"],
        "ID@/srv/docker": ["c1", "c2"],
        "ID": ["c0", "c1", "c2"],
        "X@/srv/docker": [],
    }
    cache.write(replace(ENTRY, container_id="by-path", owner=owner(LIFE, "", "", BY_PATH)))
    assert others(cache, "ID@/srv/docker") == {"c0"}
