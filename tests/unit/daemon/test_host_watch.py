"""Which containers are looked at when links of the host change: those that need them, and for nothing else anybody."""

from __future__ import annotations

import json

from dockercni.cni import CacheEntry
from dockercni.daemon.host_watch import HostWatch
from dockercni.linux.events import EVERYTHING


def entry(container: str, port: str, bridge: str = "cni0") -> CacheEntry:
    """An attachment to a bridge, as it is recorded."""
    conf = {"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge", "bridge": bridge, "isGateway": True}]}
    links = [{"name": bridge}, {"name": port}, {"name": "eth0", "sandbox": "/run/netns/x"}]
    result = {"cniVersion": "1.0.0", "interfaces": links}
    config = json.dumps(conf).encode()
    return CacheEntry(
        "net",
        container,
        "eth0",
        "/run/netns/x",
        config,
        result=result,
        served=("builtin",),
        done=1,
        owner={"engine": "e"},
    )


def test_who_is_concerned() -> None:
    """A port concerns its container, a bridge all that are on it, forwarding everybody; other links nobody."""
    asked: list[None] = []
    watch = HostWatch(lambda: asked.append(None))
    for name, bridge in (("one", "cni0"), ("two", "cni0"), ("three", "cni1")):
        watch.learn(name, [entry(name, f"veth-{name}", bridge)])
    watch.changed({"veth0"})
    watch.concerned(list)  # nobody has attached anything beside us
    asked.clear()
    watch.changed({"veth1234", "docker0"})
    assert (asked, watch.concerned(list)) == ([], set())
    for links, ids in (
        ({"veth-one", "docker0"}, {"one"}),
        ({"cni0"}, {"one", "two"}),
        ({EVERYTHING}, {"one", "two", "three"}),
    ):
        watch.changed(links)
        assert watch.concerned(list) == ids
    assert len(asked) == 3
    watch.learn("one", [])
    watch.changed({"veth-one"})
    assert watch.concerned(list) == set()
    assert len(asked) == 3


def test_what_a_command_attached() -> None:
    """An attachment that somebody made beside us is learned when a link changes that nobody is known to need."""
    asked: list[None] = []
    watch = HostWatch(lambda: asked.append(None))
    watch.changed({"veth-one"})
    assert asked
    assert watch.concerned(lambda: [entry("one", "veth-one")]) == {"one"}
    watch.changed({"veth-one"})
    assert watch.concerned(list) == {"one"}
