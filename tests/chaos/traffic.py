"""Whether packets go where they should: to each gateway, out under the host's address, in by each published port."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.hosts.outside import ADDRESS, HOST_ADDRESS

if TYPE_CHECKING:
    from tests.chaos.facts import Running
    from tests.chaos.wanted import Network, Wanted
    from tests.hosts import Host, Outside

ECHO = 7007
PROBE = Path(__file__).with_name("probe.py")


@dataclass(frozen=True)
class Question:
    """Who asks whom, and what the answer has to contain. `pid` names the asking namespace; 0 is the host's."""

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
    asked = list(_questions(outside.holder.pid, running, wanted, {network.name: network for network in networks}))
    said = {
        "outside": outside.holder.pid,
        "echo": ECHO,
        "questions": [[question.pid, question.host, question.port] for question in asked],
    }
    answers = json.loads(host.run(sys.executable, "-I", "-S", PROBE, input=json.dumps(said)).stdout)
    for question, answer in zip(asked, answers, strict=True):
        if question.answer not in answer.split():
            yield f"traffic: {question.what}: {answer.removeprefix('! ')!r}, not {question.answer!r}"


def _questions(
    outside: int, running: Sequence[Running], wanted: Mapping[str, Wanted], networks: Mapping[str, Network]
) -> Iterator[Question]:
    for one in running:
        if one.paused or not (want := wanted.get(one.name)):
            continue
        for ifname, name in want.interfaces.items():
            gateway = networks[name].gateway
            yield Question(f"{one.name} {ifname} to its gateway", one.pid, gateway, ECHO, f"local={gateway}")
        if want.networks:
            yield Question(f"{one.name} to the outside", one.pid, ADDRESS, ECHO, f"peer={HOST_ADDRESS}")
        for port in want.ports:
            mine = f"name={one.id[:12]}"
            yield Question(f"the host to {one.name} by port {port}", 0, HOST_ADDRESS, port, mine)
            yield Question(f"the outside to {one.name} by port {port}", outside, HOST_ADDRESS, port, mine)
