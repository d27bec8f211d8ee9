"""The world outside a private host: another machine on the same link, which knows no way to any container."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.hosts.place import Place

if TYPE_CHECKING:
    from tests.hosts.host import Host

HOST_LINK = "out0"
HOST_ADDRESS, ADDRESS = "198.51.100.1", "198.51.100.2"
HOST_ADDRESS6, ADDRESS6 = "2001:db8:51::1", "2001:db8:51::2"

WIRING = f"""
set -e
ip link add {HOST_LINK} type veth peer name eth0 netns "$1"
ip address add {HOST_ADDRESS}/24 dev {HOST_LINK}
ip address add {HOST_ADDRESS6}/64 dev {HOST_LINK} nodad
ip link set {HOST_LINK} up
outside="nsenter --target=$1 --net --"
$outside ip link set lo up
$outside ip address add {ADDRESS}/24 dev eth0
$outside ip address add {ADDRESS6}/64 dev eth0 nodad
$outside ip link set eth0 up
ip route add default via {ADDRESS} dev {HOST_LINK}
ip -6 route add default via {ADDRESS6} dev {HOST_LINK}
"""


class Outside(Place):
    """Reaches containers by published ports only, and sees their requests with the host's address only.

    The host's default route leads here.
    """

    def __init__(self, host: Host) -> None:
        assert host.holder
        self.holder = subprocess.Popen(
            [*host.entry, "unshare", "--net", "/bin/sh", "-c", "echo ready; while read -r _; do :; done"],
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
        self.host_address, self.address = HOST_ADDRESS, ADDRESS
        self.host_address6, self.address6 = HOST_ADDRESS6, ADDRESS6
        host.run("/bin/sh", "-c", WIRING, "wiring", str(self.holder.pid))

    def close(self) -> None:
        """Let the namespace go, and the link with it; the host's end does the same."""
        for stream in (self.holder.stdin, self.holder.stdout):
            assert stream
            stream.close()
        self.holder.wait(10)
