"""Whether packets go where they should: to each gateway and other, out under the host's address, in by each port.

And whether they do not go where they should not: into another network, or to a port that the administrator closed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos import damage, facts
from tests.chaos.wanted import SERVED
from tests.hosts.outside import ADDRESS, HOST_ADDRESS

if TYPE_CHECKING:
    from tests.chaos.facts import Running
    from tests.chaos.wanted import Network, Wanted
    from tests.hosts import Host, Outside

ECHO = 7007
SOME = 4  # of many ports
PROBE = Path(__file__).with_name("probe.py")


@dataclass(frozen=True)
class Question:
    """Who asks whom, and what the answer has to contain; with "" there must be none.

    `pid` names the asking namespace; 0 is the host's.
    """

    what: str
    pid: int
    host: str
    port: int
    answer: str


def complaints(
    host: Host,
    outside: Outside,
    running: Sequence[Running],
    wanted: Mapping[str, Wanted],
    networks: Sequence[Network],
) -> Iterator[str]:
    """One line for each question that gets no answer or a wrong one."""
    members = _members(running, wanted)
    closed = damage.closed(facts.saved_rules(host))
    asked = [
        *_outward(members, {network.name: network for network in networks}),
        *_inward(members, outside.holder.pid, closed),
        *_among(members),
    ]
    said = {
        "outside": outside.holder.pid,
        "echo": ECHO,
        "questions": [[question.pid, question.host, question.port] for question in asked],
    }
    answers = json.loads(host.run(sys.executable, "-I", "-S", PROBE, input=json.dumps(said)).stdout)
    for question, answer in zip(asked, answers, strict=True):
        if question.answer and question.answer not in answer.split():
            yield f"traffic: {question.what}: {answer.removeprefix('! ')!r}, not {question.answer!r}"
        elif not question.answer and not answer.startswith("!"):
            yield f"traffic: {question.what}: {answer!r}, which must not be"


def _members(running: Sequence[Running], wanted: Mapping[str, Wanted]) -> list[tuple[Running, Wanted]]:
    return [(one, wanted[one.name]) for one in running if not one.paused and one.name in wanted]


def _outward(members: Sequence[tuple[Running, Wanted]], networks: Mapping[str, Network]) -> Iterator[Question]:
    for one, want in members:
        for ifname, name in want.interfaces.items():
            gateway = networks[name].gateway
            yield Question(f"{one.name} {ifname} to its gateway", one.pid, gateway, ECHO, f"local={gateway}")
        if want.networks:
            yield Question(f"{one.name} to the outside", one.pid, ADDRESS, ECHO, f"peer={HOST_ADDRESS}")


def _inward(members: Sequence[tuple[Running, Wanted]], outside: int, closed: set[int]) -> Iterator[Question]:
    for one, want in members:
        for port in want.ports[:: max(1, len(want.ports) // SOME)]:
            mine = f"name={one.id[:12]}"
            yield Question(f"the host to {one.name} by port {port}", 0, HOST_ADDRESS, port, mine)
            from_outside = "" if port in closed else mine
            yield Question(f"the outside to {one.name} by port {port}", outside, HOST_ADDRESS, port, from_outside)


def _among(members: Sequence[tuple[Running, Wanted]]) -> Iterator[Question]:
    """Each container asks one on a network of its own, and one on none of them, where there are such."""
    for number, (one, want) in enumerate(members):
        others = [*members[number + 1 :], *members[:number]]
        near = ((other, ifname) for other, ifname, network in _ends(others) if network in want.networks)
        far = ((other, ifname) for other, ifname, network in _ends(others) if not _share(want, other, members))
        for found, answers in ((near, True), (far, False)):
            if want.networks and (pick := next(found, None)):
                other, ifname = pick
                address = other.addresses(ifname)[0]
                answer = f"name={other.id[:12]}" if answers else ""
                yield Question(f"{one.name} to {other.name} {ifname}", one.pid, address, SERVED, answer)


def _ends(members: Sequence[tuple[Running, Wanted]]) -> Iterator[tuple[Running, str, str]]:
    for one, want in members:
        for ifname, network in want.interfaces.items():
            if ifname in one.links and one.addresses(ifname):
                yield one, ifname, network


def _share(want: Wanted, other: Running, members: Sequence[tuple[Running, Wanted]]) -> bool:
    theirs = next(wanted for one, wanted in members if one is other)
    return bool({*want.networks} & {*theirs.networks})
