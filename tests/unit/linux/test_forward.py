"""What our chain in FORWARD holds, where it stands, and how the filter table is brought to that."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from dockercni.linux.forward import CHAIN, ISOLATION, Segment, changes, content, marked, ordered, passing, plain

OURS, USER, CNI = f"-j {CHAIN}", "-j DOCKER-USER", '-m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD'
ADMIN, DOCKERS = "-s 203.0.113.9/32 -j DROP", "-j DOCKER-FORWARD"
KNOWN = "-m conntrack --ctstate RELATED,ESTABLISHED,DNAT"


def mark(name: str) -> str:
    return f'-m comment --comment "dockercni:{name}" -j ACCEPT'


ORDERS = {
    "nothing there": ([USER, DOCKERS], [USER, OURS, DOCKERS]),
    "in place": ([ADMIN, USER, OURS, DOCKERS, CNI], [ADMIN, USER, OURS, DOCKERS, CNI]),
    "Docker restarted": ([USER, DOCKERS, OURS], [USER, OURS, DOCKERS]),
    "before the administrator's": ([OURS, USER, DOCKERS], [USER, OURS, DOCKERS]),
    "twice": ([OURS, USER, OURS, DOCKERS], [USER, OURS, DOCKERS]),
    "the reference on top": ([CNI, ADMIN, USER, OURS], [ADMIN, USER, OURS, CNI]),
    "flushed": ([], [USER, OURS]),
    "flushed, the reference was faster": ([CNI], [USER, OURS, CNI]),
}


@pytest.mark.parametrize("case", ORDERS)
def test_order(case: str) -> None:
    """Our chain comes directly behind DOCKER-USER, accepts of the reference plugin after both, the rest stays."""
    before, after = ORDERS[case]
    present = {"FORWARD": before, "DOCKER-USER": []}
    assert ordered(present) == after
    assert applied(before, [line for line in changes(present, {CHAIN: []}) if " FORWARD " in line]) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([ADMIN], [OURS, ADMIN]),
        ([ADMIN, OURS], [ADMIN, OURS]),
        ([CNI, OURS], [OURS, CNI]),
        ([ADMIN, CNI], [OURS, ADMIN, CNI]),
        ([OURS, ADMIN, OURS], [OURS, ADMIN]),
    ],
    ids=str,
)
def test_order_without_docker(before: list[str], after: list[str]) -> None:
    """Without DOCKER-USER our chain comes first, and stays where it is as long as the reference's is behind it."""
    present = {"FORWARD": before}
    assert ordered(present) == after
    assert applied(before, [line for line in changes(present, {CHAIN: []}) if " FORWARD " in line]) == after


def applied(rules: list[str], lines: list[str]) -> list[str]:
    """What lines for iptables-restore make of FORWARD."""
    found = list(rules)
    for line in lines:
        verb, _, rest = line.split(" ", 2)
        if verb == "-D":
            found.remove(rest)
        else:
            at, _, rule = rest.partition(" ")
            found.insert(int(at) - 1, rule)
    return found


def test_nothing_to_change() -> None:
    """A table that is as it has to be is not touched, nor is one that has nothing of ours and needs nothing."""
    wanted = content(4, [Segment("br0")], {"docker0": ()}, isolate=True)
    assert changes({"FORWARD": [USER, OURS], "DOCKER-USER": [], **wanted}, wanted) == []
    assert changes({"FORWARD": [USER, DOCKERS], "DOCKER-USER": []}, {}) == []


def test_all_goes() -> None:
    """Without anything to let through, no rule and no chain of ours is left."""
    present = {"FORWARD": [USER, OURS, DOCKERS], "DOCKER-USER": [], CHAIN: [f"-i br0 {mark('br0')}"], ISOLATION: []}
    assert changes(present, {}) == [
        f":{CHAIN} - [0:0]",
        f":{ISOLATION} - [0:0]",
        f"-D FORWARD {OURS}",
        f"-X {CHAIN}",
        f"-X {ISOLATION}",
    ]


def test_the_version_before() -> None:
    """What earlier versions wrote goes: from DOCKER-USER all of it, from the reference's chain what is ours."""
    old, foreign = f"-i br0 {mark('br0')}", f"-i br9 {mark('br9')}"
    present = {"FORWARD": [USER, OURS], "DOCKER-USER": [old, ADMIN, foreign], "CNI-FORWARD": [old, foreign], CHAIN: []}
    assert changes(present, {CHAIN: []}, {"br0"}) == [
        f"-D DOCKER-USER {old}",
        f"-D DOCKER-USER {foreign}",
        f"-D CNI-FORWARD {old}",
    ]


def test_content() -> None:
    """Answers and published ports first, then what stays on a link, then what keeps networks apart, then the rest."""
    found = content(4, [Segment("br1"), Segment("br0", open=True)], {"docker0": (), "routed0": (4,)}, isolate=True)
    assert found == {
        CHAIN: [
            f"-o br0 {KNOWN} {mark('br0')}",
            f"-o br1 {KNOWN} {mark('br1')}",
            f"-i br0 {KNOWN} -j ACCEPT",
            f"-i br1 {KNOWN} -j ACCEPT",
            "-i br0 -o br0 -j ACCEPT",
            "-i br1 -o br1 -j ACCEPT",
            f"-i br0 -j {ISOLATION}",
            f"-i br1 -j {ISOLATION}",
            f"-i docker0 -j {ISOLATION}",
            f"-i routed0 -j {ISOLATION}",
            "-o routed0 -j RETURN",
            f"-i br0 {mark('br0')}",
            f"-i br1 {mark('br1')}",
        ],
        ISOLATION: ["-o br1 -j DROP", "-i docker0 -j RETURN", "-i routed0 -j RETURN", "-o docker0 -j DROP"],
    }
    assert marked(found) == {"br0", "br1"}


def test_content_without_isolation() -> None:
    """Without isolation there is one chain, in which nothing is dropped."""
    found = content(6, [Segment("br0")], {"docker0": ()}, isolate=False, admin=["-j CNI-ADMIN"])
    assert found == {
        CHAIN: ["-j CNI-ADMIN", f"-o br0 {KNOWN} {mark('br0')}", "-i br0 -o br0 -j ACCEPT", f"-i br0 {mark('br0')}"]
    }


def test_content_by_address() -> None:
    """Where other machines are behind a link, or no link is known, addresses of the IP version are let through."""
    here = frozenset({ip_address("198.51.100.50"), ip_address("fd00::1")})
    alone = Segment(addresses=frozenset({ip_address("10.1.1.1")}))
    found = content(4, [Segment("lan0", here, shared=True), alone], {}, isolate=True)
    assert found[ISOLATION] == ["-d 10.1.1.1/32 -j DROP", "-d 198.51.100.50/32 -o lan0 -j DROP"]
    assert f"-s 198.51.100.50/32 -i lan0 {mark('lan0')}" in found[CHAIN]
    assert f"-s 10.1.1.1/32 {mark('10.1.1.1')}" in found[CHAIN]
    assert "-i lan0 -o lan0 -j ACCEPT" in found[CHAIN]
    assert not any("fd00" in rule for rule in found[CHAIN])


@pytest.mark.parametrize("isolate", [True, False])
def test_passing(*, isolate: bool) -> None:
    """What passes is read from our chain as it was written there, but for links that others share."""
    segments = {Segment("br1"), Segment("br0", open=True), Segment(addresses=frozenset({ip_address("10.1.1.1")}))}
    shared = Segment("lan0", frozenset({ip_address("198.51.100.50")}), shared=True)
    found = set(passing(content(4, {*segments, shared}, {}, isolate=isolate)))
    assert found == (segments if isolate else {replace(one, open=False) for one in segments})
    assert set(passing({})) == set()


def test_names_that_iptables_would_misread() -> None:
    """A name that ends words for iptables, or stands for many links, is not used in a rule."""
    assert all(map(plain, ("br0", "br-0123456789ab", "cni_a.100", "a:b")))
    assert not any(map(plain, ("", "br+", 'b"r', "b r", "b\nr", "x" * 16, "ü")))
