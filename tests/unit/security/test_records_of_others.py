"""Cache entries that another runtime, or somebody else, wrote: they may say anything."""

from __future__ import annotations

from typing import Any

import pytest

from dockercni.cni import CacheEntry
from dockercni.daemon import port_holds
from dockercni.linux.netns import Namespace, NamespaceGone
from dockercni.model import PublishedPort
from dockercni.reconcile import ports
from dockercni.reconcile.ports import PortTaken, Publisher

GOOD = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
NONSENSE: tuple[Any, ...] = (
    None,
    "8080:80",
    7,
    {"hostPort": 8080},
    [None],
    ["x"],
    [[]],
    [{}],
    [{**GOOD, "hostPort": "8080"}],
    [{**GOOD, "hostPort": 8080.0}],
    [{**GOOD, "hostPort": True}],
    [{**GOOD, "hostPort": 0}],
    [{**GOOD, "hostPort": 70000}],
    [{**GOOD, "hostPort": -1}],
    [{**GOOD, "containerPort": None}],
    [{**GOOD, "protocol": 6}],
    [{**GOOD, "hostIP": "some.host.example"}],  # a bind would ask a name server for it
    [{**GOOD, "hostIP": {"a": 1}}],
    [{**GOOD, "hostIP": 0x7F000001}],
)


@pytest.mark.parametrize("listed", NONSENSE)
def test_port_mappings_that_are_none(listed: Any) -> None:
    """Port mappings of a record that are none keep no container from publishing its own."""
    args = {"portMappings": listed}
    assert list(ports.recorded(args)) == []
    assert list(ports.published(args)) == []
    ports.refuse_taken((PublishedPort(80, "sctp", "", range(8080, 8081)),), [Publisher("x", args, lambda: True)], None)
    result = {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24"}]}
    entry = CacheEntry("lan", "web", "eth0", "", b"{}", capability_args=args, result=result)
    assert list(port_holds.published(entry)) == []


@pytest.mark.parametrize("mapping", [GOOD, {**GOOD, "protocol": "TCP"}, {"hostPort": 8080, "containerPort": 80}])
def test_port_mappings_of_other_runtimes(mapping: dict[str, Any]) -> None:
    """Those that are some count, spelled as other runtimes spell them."""
    args = {"portMappings": [None, mapping]}
    assert list(ports.published(args)) == [("tcp", 8080)]
    with pytest.raises(PortTaken, match="published by container x"):
        ports.refuse_taken(
            (PublishedPort(80, "tcp", "", range(8080, 8081)),), [Publisher("x", args, lambda: True)], None
        )


@pytest.mark.parametrize("path", ["a\0b", "\0", "/proc/self/ns/net\0"])
def test_paths_that_are_none(path: str) -> None:
    """A recorded path with a NUL in it is that of no namespace, not an error."""
    with pytest.raises(NamespaceGone):
        Namespace.open(path)
