"""dockercni.plugins.host_local against a simple model, and what the reference does not do."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dockercni.cni import CNIError, PluginError
from dockercni.linux import netns_state
from dockercni.plugins import host_local, leases
from tests.unit.plugins.asking import ask

CONTAINERS = st.sampled_from(["a", "b", "c", "d"])
IFNAMES = st.sampled_from(["eth0", "eth1"])
FOUR = [f"10.1.0.{number}" for number in (2, 3, 4, 5, 6)]
SIX = [f"fd00::{number}" for number in (2, 3)]


def conf(directory: Path | str, **more: Any) -> dict[str, Any]:
    """A network of five IPv4 addresses, and of two IPv6 addresses unless `more` has other ranges."""
    ranges = [[{"subnet": "10.1.0.0/29"}], [{"subnet": "fd00::/126"}]]
    ipam = {"type": "host-local", "ranges": ranges, "dataDir": str(directory)}
    return {"cniVersion": "1.1.0", "name": "net", "type": "host-local", "ipam": ipam, **more}


@pytest.fixture(autouse=True, scope="module")
def _nobody_uses_anything() -> Iterator[None]:
    """Leases count as old, and no namespace of this machine has their addresses: the tests themselves say otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leases, "NEW", 0)
        patch.setattr(netns_state, "addresses_everywhere", frozenset)
        yield


class Store(RuleBasedStateMachine):
    """Any sequence of verbs: who has what is as a dictionary would have it, in the files too."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.mkdtemp()
        self.held: dict[tuple[str, str], list[str]] = {}

    def teardown(self) -> None:
        """Remove the store."""
        shutil.rmtree(self.directory)

    @property
    def taken(self) -> set[str]:
        """All addresses that somebody has."""
        return {address for each in self.held.values() for address in each}

    @rule(
        container=CONTAINERS, ifname=IFNAMES, asked=st.none() | st.sampled_from([*FOUR, *SIX, "10.1.0.1", "10.9.0.1"])
    )
    def add(self, container: str, ifname: str, asked: str | None) -> None:
        """An ADD gives one free address of each family, the wanted one if there is one, or fails."""
        given = conf(self.directory, **({"runtimeConfig": {"ips": [asked]}} if asked else {}))
        full = {*FOUR} <= self.taken or {*SIX} <= self.taken
        refused = (container, ifname) in self.held or full or asked in self.taken
        if refused or asked not in (None, *FOUR, *SIX):
            with pytest.raises(PluginError):
                ask("ADD", given, container, ifname)
            return
        addresses = [ip["address"].split("/")[0] for ip in ask("ADD", given, container, ifname)["ips"]]
        assert [address in family for address, family in zip(addresses, (FOUR, SIX), strict=True)] == [True, True]
        assert asked is None or asked in addresses
        assert not self.taken & set(addresses)
        self.held[container, ifname] = addresses

    @rule(container=CONTAINERS, ifname=IFNAMES)
    def delete(self, container: str, ifname: str) -> None:
        """A DEL gives back what its attachment has, and always succeeds."""
        ask("DEL", conf(self.directory), container, ifname)
        self.held.pop((container, ifname), None)

    @rule(container=CONTAINERS, ifname=IFNAMES)
    def check(self, container: str, ifname: str) -> None:
        """A CHECK succeeds for those who have something."""
        if (container, ifname) in self.held:
            ask("CHECK", conf(self.directory), container, ifname)
        else:
            with pytest.raises(PluginError, match="Failed to find address added by container"):
                ask("CHECK", conf(self.directory), container, ifname)

    @rule(valid=st.lists(st.tuples(CONTAINERS, IFNAMES)))
    def gc(self, valid: list[tuple[str, str]]) -> None:
        """A GC leaves the valid attachments what they have, and takes everything from the others."""
        listed = [{"containerID": container, "ifname": ifname} for container, ifname in valid]
        ask("GC", conf(self.directory, **{"cni.dev/valid-attachments": listed}))
        self.held = {key: addresses for key, addresses in self.held.items() if key in valid}

    @invariant()
    def files(self) -> None:
        """The files are what is held, no more and no less."""
        found = {path.name: path.read_bytes() for path in Path(self.directory).glob("net/*") if path.name[0] != "l"}
        expected = {(key, address) for key, addresses in self.held.items() for address in addresses}
        assert found == {address: "\r\n".join(key).encode() for key, address in expected}


TestStore = Store.TestCase
TestStore.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_request_does_not_bypass_the_duplicate_check(tmp_path: Path) -> None:
    """An attachment that has an address gets no second one by naming it."""
    ask("ADD", conf(tmp_path))
    with pytest.raises(PluginError, match="has been allocated to c1, duplicate allocation is not allowed"):
        ask("ADD", conf(tmp_path), ARGS="IP=10.1.0.6")


def test_failure_takes_back_only_its_own(tmp_path: Path) -> None:
    """An ADD that fails in its second set gives back what it took in the first, and nothing else."""
    for container in "ab":
        ask("ADD", conf(tmp_path), container)
    with pytest.raises(PluginError, match=r"failed to allocate for range 1: no IP addresses available in range set"):
        ask("ADD", conf(tmp_path), "c")
    assert len(list((tmp_path / "net").glob("[0-9f]*"))) == 4


def test_gc(tmp_path: Path) -> None:
    """A GC leaves the valid attachments their leases; an attachment is a container and an interface."""
    given = conf(tmp_path, ipam={"type": "host-local", "subnet": "10.1.0.0/29", "dataDir": str(tmp_path)})
    for container, ifname in (("c1", "eth0"), ("c1", "eth1"), ("c2", "eth1")):
        ask("ADD", given, container, ifname)
    ask("GC", {**given, "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth1"}]})
    ask("CHECK", given, "c1", "eth1")
    assert len(list((tmp_path / "net").glob("10*"))) == 1


@pytest.mark.parametrize("why", ["used", "new"])
def test_gc_leaves_what_another_runtime_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """The list is that of one runtime: an address that somebody has, or that was only just given, stays."""
    ask("ADD", conf(tmp_path), "theirs")
    if why == "used":
        monkeypatch.setattr(
            netns_state, "addresses_everywhere", lambda: frozenset([ip_address("10.1.0.2"), ip_address("fd00::2")])
        )
    else:
        monkeypatch.setattr(leases, "NEW", 3600)
    before = sorted(path.name for path in (tmp_path / "net").glob("[0-9f]*"))
    ask("GC", conf(tmp_path, **{"cni.dev/valid-attachments": []}))
    assert "10.1.0.2" in before
    assert sorted(path.name for path in (tmp_path / "net").glob("[0-9f]*")) == before


def test_gc_needs_a_list(tmp_path: Path) -> None:
    """A GC without a list of valid attachments removes nothing, and says so; the older key serves too."""
    ask("ADD", conf(tmp_path))
    with pytest.raises(PluginError, match="GC without a list of valid attachments"):
        ask("GC", conf(tmp_path))
    ask("GC", conf(tmp_path, **{"cni.dev/attachments": [{"containerID": "c1", "ifname": "eth0"}]}))
    ask("CHECK", conf(tmp_path))
    ask("GC", conf(tmp_path, **{"cni.dev/valid-attachments": []}))
    assert not list((tmp_path / "net").glob("10*"))


def test_status(tmp_path: Path) -> None:
    """STATUS finds a configuration that no ADD could be served with."""
    ask("STATUS", conf(tmp_path))
    with pytest.raises(PluginError, match="no IP ranges specified"):
        ask("STATUS", conf(tmp_path, ipam={"type": "host-local"}))


@pytest.mark.parametrize(
    ("ipam", "reason"),
    [
        ({}, ""),
        ({"subnet": "x", "rangeStart": 1, "rangeEnd": 1, "gateway": 1, "routes": 1, "dataDir": 1}, ""),
        ({"Subnet": "x", "resolvConf": "x", "ranges": [[{"subnet": "x", "Gateway": 1}]]}, ""),
        ({"new": None}, ""),
        ({"new": 1, "newer": 1}, "ipam: new, newer is not supported"),
        ({"ranges": [[{"subnet": "x"}], [{"zone": 1}]]}, "ipam.ranges: zone is not supported"),
        ({"ranges": [1, [1]]}, ""),
    ],
)
def test_unsupported(ipam: dict[str, Any], reason: str) -> None:
    """Keys that we do not know are left to the executable; wrong values are not."""
    assert host_local.unsupported({"type": "bridge", "foreign": 1, "ipam": {"type": "host-local", **ipam}}) == reason


def test_network_name_is_no_path(tmp_path: Path) -> None:
    """A network name that would lead out of the directory is refused."""
    with pytest.raises(CNIError, match="invalid characters in network name"):
        ask("ADD", {**conf(tmp_path), "name": "../x"})
    assert not list(tmp_path.iterdir())
