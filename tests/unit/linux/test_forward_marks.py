"""What is written into FORWARD is read back by the same module: marks of rules, bridges, the place of each chain."""

from __future__ import annotations

from dockercni.linux import forward
from dockercni.linux.forward import CHAIN, CNI, DOCKER, FORWARD, Segment


def test_a_mark_is_read_back() -> None:
    """A rule of our firewall plugin names what it is for; no other rule does."""
    rule = f"-i lan0 {forward.firewall_comment('lan0')} -j ACCEPT"
    assert forward.firewall_name(rule) == "lan0"
    assert forward.firewall_name('-m comment --comment "dockercni:lan0" -j ACCEPT') == ""


def test_bridges_of_docker_are_read_back() -> None:
    """The bridges that our chain isolates are those that it was made for."""
    chains = forward.content(4, [Segment("lan0")], {"docker0": (), "br-0": (4,)}, isolate=True)
    assert forward.docker_bridges(chains) == {"docker0", "br-0"}
    assert forward.docker_bridges({}) == set()


def test_the_chain_of_the_reference_plugin_comes_behind_ours() -> None:
    """DOCKER-USER and the daemon's chain decide before it; what exists already is not made twice."""
    jumps = [f"-j {DOCKER}", f"-j {CHAIN}", "-j DOCKER-FORWARD"]
    lines = list(forward.cni_chain({FORWARD: jumps}))
    assert lines[0] == f":{CNI} - [0:0]"
    assert lines[1].startswith(f"-I {FORWARD} 3 ")
    assert lines[2:] == [
        ":CNI-ADMIN - [0:0]",
        f'-I {CNI} 1 -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN',
    ]
    made = [lines[1].split(" ", 3)[3], *jumps]
    admin = lines[3].split(" ", 3)[3]
    assert list(forward.cni_chain({FORWARD: made, CNI: [admin], "CNI-ADMIN": []})) == []
