"""Who reaches whom in twin hosts: the world outside, the host, and its containers, asking and answering."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from tests.hosts import Outside, Place, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.differential.side import Backend
    from tests.differential.twin import Twin
    from tests.hosts import Host

Target = tuple[str, str, int]
"""Protocol, address, port."""

_PATIENCE = 1.0  # seconds for an answer: a place that gets none waits as long
_MORE_PATIENCE = 5.0


class Reach:
    """The places of both hosts: "host", "outside", and containers by their names."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._hosts = {side.backend: side.host for side in (twin.reference, twin.native)}
        self._outside = {backend: Outside(host) for backend, host in self._hosts.items()}
        self._places: dict[Backend, dict[str, Place]] = {
            backend: {"host": host, "outside": self._outside[backend]} for backend, host in self._hosts.items()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for outside in self._outside.values():
            outside.close()

    def containers(self, *names: str) -> None:
        """Make namespaces of these names."""
        for name in names:
            self._twin.container(name)
            for backend, host in self._hosts.items():
                self._places[backend][name] = _inside(host, name)

    def serve(self, name: str, *, tcp: int = 0, udp: int = 0) -> None:
        """Let a place answer on these ports."""
        for places in self._places.values():
            if tcp:
                places[name].serve_tcp(tcp)
            if udp:
                places[name].serve_udp(udp)

    def compare(self, asked: Mapping[str, Sequence[Target]]) -> None:
        """Let each place ask its targets, and compare under which addresses the places are seen, if at all."""
        for host in self._hosts.values():
            wait_until(lambda: not _tentative(host), 5, "addresses")  # noqa: B023
        found = self._survey(asked, _PATIENCE)
        if found["exec"] != found["builtin"]:  # one may only have been slow
            found = self._survey(asked, _MORE_PATIENCE)
        self._twin.compare("reach", lambda host: found["exec" if host is self._hosts["exec"] else "builtin"])

    def _survey(self, asked: Mapping[str, Sequence[Target]], patience: float) -> dict[Backend, dict[str, str]]:
        jobs = [(backend, name, targets) for backend in self._places for name, targets in asked.items()]
        found: dict[Backend, dict[str, str]] = {backend: {} for backend in self._places}
        with ThreadPoolExecutor(len(jobs)) as pool:
            answers = pool.map(lambda job: self._places[job[0]][job[1]].survey(job[2], patience), jobs)
            for (backend, name, targets), seen in zip(jobs, answers, strict=True):
                for (protocol, host, port), peer in zip(targets, seen, strict=True):
                    found[backend][f"{name} {protocol} {host} {port}"] = peer
        return found


def _inside(host: Host, name: str) -> Place:
    host.run("ip", "-n", name, "link", "set", "lo", "up")
    place = Place((*host.entry, "nsenter", f"--net=/run/netns/{name}", "--"), host.env, host.logs)
    place.background = host.background
    return place


def _tentative(host: Host) -> str:
    return host.run("ip", "-6", "-br", "address", "show", "tentative").stdout
