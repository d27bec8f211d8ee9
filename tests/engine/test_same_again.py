"""A container that starts again has what it had: other hosts may have kept it in their neighbour tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import BIN_DIRS, addresses, conflist, network, run, settings

if TYPE_CHECKING:
    from tests.engine.daemons import Start
    from tests.hosts import Host

IPAM = {"type": "host-local", "ranges": [[{"subnet": "10.77.1.0/24"}]]}


def mac(host: Host, name: str) -> str:
    """The MAC of a container's interface."""
    (link,) = json.loads(host.container(name).run("ip", "-json", "link", "show", "dev", "eth0").stdout)
    return str(link["address"])


@pytest.mark.parametrize("kind", ["bridge", "macvlan"])
def test_after_a_restart(host: Host, daemon: Start, kind: str) -> None:
    """Address and MAC stay over restarts of the container, and over a stop during which others came."""
    if kind == "bridge":
        network(host, "lan", "10.77.1.0/24")
    else:
        host.run("ip", "link", "add", "parent0", "type", "veth", "peer", "name", "parent1")
        conflist(host, "lan", [{"type": "macvlan", "master": "parent0", "ipam": IPAM}])
    running = daemon()
    run(host, "web")
    running.wait_event("ADD", container="web")
    before = addresses(host, "web"), mac(host, "web")
    seen = len(running.log())
    host.docker("restart", "--time=0", "web")
    running.wait_event("ADD", container="web", after=seen)
    assert (addresses(host, "web"), mac(host, "web")) == before
    host.docker("stop", "--time=0", "web")
    running.wait_event("DEL", container="web", after=seen + 1)
    run(host, "other")
    running.wait_event("ADD", container="other")
    seen = len(running.log())
    host.docker("start", "web")
    running.wait_event("ADD", container="web", after=seen)
    assert (addresses(host, "web"), mac(host, "web")) == before


def test_the_same_address_in_another_container(host: Host, daemon: Start) -> None:
    """An address that a label names has one MAC, whichever container has it; a label for the MAC comes first."""
    network(host, "lan", "10.77.1.0/24")
    running = daemon()
    for name, labels, expected in (
        ("first", [], "02:42:0a:4d:01:09"),
        ("second", [], "02:42:0a:4d:01:09"),
        ("third", ["--label=dockercni.mac=02:00:00:00:00:03"], "02:00:00:00:00:03"),
    ):
        run(host, name, "--label=dockercni.ip=10.77.1.9", *labels)
        running.wait_event("ADD", container=name)
        assert mac(host, name) == expected
        host.docker("rm", "--force", name)
        running.wait_event("DEL", container=name)


FLANNEL = """#!/bin/sh
# What flannel's plugin does: it runs the plugin that it delegates to, with the same environment.
cat >/dev/null
[ "$CNI_COMMAND" != VERSION ] || exec /usr/lib/cni/bridge
echo '{"cniVersion": "1.0.0", "name": "lan", "type": "bridge", "bridge": "cni-lan",
       "ipam": {"type": "host-local", "subnet": "10.77.1.0/24"}}' | exec /usr/lib/cni/bridge
"""


def test_behind_a_delegate(host: Host, daemon: Start) -> None:
    """The address of a network like flannel's, whose plugin has host-local behind it, stays over restarts as well."""
    path = "/run/private/bin/flannel"
    host.write(path, FLANNEL)
    host.path(path).chmod(0o755)
    settings(host, cni_bin_dir=f"/run/private/bin:{BIN_DIRS}")
    conflist(host, "lan", [{"type": "flannel", "delegate": {"isDefaultGateway": True}}])
    running = daemon()
    run(host, "web")
    running.wait_event("ADD", container="web")
    before = addresses(host, "web")
    for _ in range(2):
        seen = len(running.log())
        host.docker("restart", "--time=0", "web")
        running.wait_event("ADD", container="web", after=seen)
        assert addresses(host, "web") == before
