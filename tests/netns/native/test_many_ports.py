"""Thousands of published ports."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.netns.native.conftest import DUAL, PORTMAP, ROOT, chain
from tests.netns.native.test_defects import EMPTY, table

if TYPE_CHECKING:
    from tests.netns.native.conftest import Attached

ELSEWHERE = {  # addresses that are used nowhere else on this machine
    "type": "host-local",
    "ranges": [[{"subnet": "10.79.1.0/24"}], [{"subnet": "fd00:79:1::/64"}]],
    "routes": [{"dst": "0.0.0.0/0"}],
}
NETWORK = chain(PORTMAP, version="1.1.0", ipam=DUAL)


def ports(first: int, number: int) -> list[dict[str, Any]]:
    """Consecutive ports."""
    return [{"hostPort": port, "containerPort": port, "protocol": "tcp"} for port in range(first, first + number)]


def published(attached: Attached, container: str) -> int:
    """How many elements of ports the container has in our table."""
    listed = attached.host.run("nft", "list", "table", "inet", "dockercni").stdout
    return listed.count(f'comment "{container} eth0 net" :')


def test_two_thousand_ports(attached: Attached) -> None:
    """A container publishes 2,000 ports in both families; CHECK finds, REPAIR puts back and DEL takes all of them."""
    wanted = ports(20000, 2000)
    attached.container("c1")
    attached.add(NETWORK, ports=wanted)
    assert published(attached, "c1") == 2 * 2000
    attached.run("CHECK", NETWORK, ports=wanted)
    before = table(attached)
    attached.host.run("nft", "flush", "ruleset")
    attached.run("REPAIR", NETWORK)
    assert table(attached) == before
    attached.run("DEL", NETWORK, ports=wanted)
    assert published(attached, "c1") == 0
    assert attached.left() == EMPTY


def test_gc_of_two_thousand(attached: Attached) -> None:
    """GC takes the 2,000 ports of a container that is gone, and of which nothing is recorded."""
    network, wanted = chain(PORTMAP, version="1.1.0", ipam=ELSEWHERE), ports(20000, 2000)
    for name in ("c1", "c2"):
        attached.container(name)
    attached.add(network, "c1", ports=wanted)
    attached.add(network, "c2", ports=ports(40000, 10))
    attached.host.run("sh", "-c", "rm /var/lib/cni/results/net-c1-eth0; ip netns delete c1")
    attached.run("GC", network, "c2")
    assert (published(attached, "c1"), published(attached, "c2")) == (0, 20)


def test_some_are_taken(attached: Attached) -> None:
    """Of 2,000 ports the last is somebody else's: none is published, and the other one keeps it."""
    for name in ("c1", "c2"):
        attached.container(name)
    attached.add(NETWORK, "c1", ports=ports(21999, 1))
    refused = attached.run("ADD", NETWORK, "c2", ports=ports(20000, 2000), check=False)
    assert refused.returncode == 1
    assert "21999" in refused.stderr
    assert (published(attached, "c1"), published(attached, "c2")) == (2, 0)


MANY_DESCRIPTORS = """
import os, resource
from dockercni.linux import nft
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
for _ in range(2000):
    os.open("/dev/null", os.O_RDONLY)
nft.apply("create table inet here")
print([one["table"]["name"] for one in nft.listing("list tables inet")])
print(len(os.listdir("/proc/self/fd")))
"""


@pytest.mark.parametrize("kernel", ["with close_range", "without"])
def test_libnftables_never_sees_a_high_descriptor(attached: Attached, kernel: str) -> None:
    """With 2,000 descriptors open rulesets are applied and listed, and all of the descriptors stay open."""
    older = "from dockercni.linux import descriptors\ndescriptors._CLOSE_RANGE = 9999\n" if kernel == "without" else ""
    done = attached.host.run(sys.executable, "-c", older + MANY_DESCRIPTORS, env={"PYTHONPATH": str(ROOT)})
    assert done.stdout.splitlines()[0] == "['here']"
    assert int(done.stdout.splitlines()[1]) > 2000
