"""Other hosts on the same layer 2 network: each has a bridge with a VXLAN to all others, over one underlay.

There is no server for it and no protocol: each bridge is told where the others are.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

from tests.hosts.place import Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.hosts.host import Host

BRIDGE: Final = "ovl-lan"
MTU: Final = 1450  # of an underlay with 1500
_UNDERLAY: Final = "203.0.113"


class Neighbour(Place):
    """Another machine: a network namespace beside the private host's."""

    def __init__(self, host: Host) -> None:
        assert host.holder
        self.holder = subprocess.Popen(
            [*host.entry, "unshare", "--net", "/bin/sh", "-c", "ip link set lo up; echo ready; read -r _"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=host.env,
            start_new_session=True,
        )
        assert self.holder.stdout
        assert self.holder.stdout.readline() == b"ready\n"
        entry = ("nsenter", f"--mount=/proc/{host.holder.pid}/ns/mnt", f"--net=/proc/{self.holder.pid}/ns/net", "--")
        super().__init__(entry, host.env, host.logs)
        self.background = host.background

    def close(self) -> None:
        """Let the namespace go, with the links that end in it."""
        for stream in (self.holder.stdin, self.holder.stdout):
            assert stream
            stream.close()
        self.holder.wait(10)


class Overlay:
    """The private host and `count` neighbours on one layer 2 network; neighbour N has the address 10.57.0.N."""

    def __init__(self, host: Host, count: int) -> None:
        self.underlay = Neighbour(host)
        self.underlay.run("ip", "link", "add", "under", "up", "type", "bridge")
        self.neighbours = [Neighbour(host) for _ in range(count)]
        places = [host, *self.neighbours]
        for number, place in enumerate(places):
            self._connect(place, number, [other for other in range(len(places)) if other != number])
        for number, neighbour in enumerate(self.neighbours, start=1):
            neighbour.run("ip", "address", "add", f"10.57.0.{number}/24", "dev", BRIDGE)

    def _connect(self, place: Place, number: int, others: Sequence[int]) -> None:
        link = f"ovl{number}"
        pid = self.underlay.holder.pid
        place.run("ip", "link", "add", link, "type", "veth", "peer", "name", link, "netns", str(pid))
        self.underlay.run("ip", "link", "set", link, "up", "master", "under")
        for words in (
            f"address add {_UNDERLAY}.{number + 1}/24 dev {link}",
            f"link set {link} up",
            f"link add {BRIDGE} type bridge",
            f"link add ovl-vxlan type vxlan id 7 dstport 4789 local {_UNDERLAY}.{number + 1} dev {link}",
            f"link set ovl-vxlan mtu {MTU} up master {BRIDGE}",
            f"link set {BRIDGE} up",
        ):
            place.run("ip", *words.split())
        for other in others:
            where = ("dev", "ovl-vxlan", "dst", f"{_UNDERLAY}.{other + 1}")
            place.run("bridge", "fdb", "append", "00:00:00:00:00:00", *where)

    def close(self) -> None:
        """Let the neighbours go; the host's links go with the wipe of the host."""
        for neighbour in (*self.neighbours, self.underlay):
            neighbour.close()
