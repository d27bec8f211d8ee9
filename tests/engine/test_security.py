"""What containers, other users and other programs can do to a running daemon: nothing that is not theirs."""

from __future__ import annotations

import json
import stat
import sys
from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import addresses, network, run, wait_attached
from tests.engine.daemons import environment, family
from tests.hosts import wait_until

if TYPE_CHECKING:
    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
OURS = ("/run/dockercni", "/var/lib/dockercni", "/var/lib/cni/results")
EVIL = (b"\xff\xfe", b"a\x1cb", b"x\x85y", b"\x1b[2J", b'q"#')
RENAME = """
import os, socket
from pyroute2 import IPRoute
from dockercni.linux.links import End, new_veth
from dockercni.linux.netlink import Netlink
with Netlink() as links, IPRoute() as addresses:
    for number, word in enumerate({names!r}):
        links.do(new_veth(End(os.fsdecode(bytes.fromhex(word)), up=True), End(f"p{{number}}", up=True)))
    for index, name in socket.if_nameindex():
        if name not in ("lo", "eth0"):
            addresses.addr("add", index=index, address=f"10.8.{{index}}.1", prefixlen=24)
"""


def test_a_container_that_names_its_links_badly(host: Host, daemon: Start, cli: Cli) -> None:
    """Whatever a container makes of its own namespace, others are served, and what it breaks of its own is mended."""
    running = daemon()
    run(host, "evil", "--cap-add=NET_ADMIN")
    wait_attached(host, "evil")
    names = [name.hex() for name in EVIL]
    place = host.container("evil")
    place.run(sys.executable, "-c", RENAME.format(names=names), env=environment())
    run(host, "web")
    wait_attached(host, "web")
    place.run("ip", "address", "flush", "dev", "eth0")
    done = cli("sync", "evil")  # by name, for what a container with NET_ADMIN does is otherwise left alone
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "converged: 1 container, 1 attachment, 1 repaired"
    assert cli("status").returncode == 0
    assert addresses(host, "evil")
    assert not [event for event in running.log() if event.get("exception")]


def test_nothing_is_open_to_other_users(host: Host, daemon: Start) -> None:
    """Directories of ours are 0700 and files 0600 while containers come and go, and nobody else can look into them."""
    network(host, "lan", "10.7.0.0/24")
    daemon()
    run(host, "web", "-p", "8080:80")
    wait_attached(host, "web")
    seen = 0
    for top in OURS:
        for path in (host.path(top), *host.path(top).rglob("*")):
            mode = path.lstat()
            assert (mode.st_uid, oct(mode.st_mode & 0o777)) == (
                0,
                "0o700" if stat.S_ISDIR(mode.st_mode) else "0o600",
            ), path
            seen += 1
        assert host.run(*NOBODY, "ls", top, check=False).returncode != 0
    assert seen >= 10
    pins = host.run("ls", "/run/netns").stdout.split()
    entered = host.run(*NOBODY, "nsenter", f"--net=/run/netns/{pins[0]}", "true", check=False)
    assert entered.returncode != 0


def test_there_is_no_socket_for_others(host: Host, daemon: Start) -> None:
    """Of the daemon's processes only the gate has a socket to connect to, in a directory of root's."""
    running = daemon()
    run(host, "web")
    wait_attached(host, "web")
    listening = host.run("ss", "-xlpnH").stdout.splitlines()
    ours = [line for pid in family(running.program.pid) for line in listening if f"pid={pid}," in line]
    assert [next(word for word in line.split() if "/" in word) for line in ours] == ["/run/dockercni/gate.sock"], ours
    assert host.run("ss", "-tulnH").stdout == ""


@pytest.mark.parametrize("name", ["/run/private/precious", "../../private/precious", "..", "a\nb", "a b"])
def test_ids_by_hand(host: Host, cli: Cli, name: str) -> None:
    """What is no id is refused on the command line, exit code 2, and no file of that name is touched."""
    host.write("/run/private/precious", "precious")
    host.run("ip", "netns", "add", "by-hand")
    try:
        done = cli("add", name, "/run/netns/by-hand")
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert "cannot be an id" in done.stderr
        assert cli("del", name).returncode in {2, 75}
        assert host.read("/run/private/precious") == "precious"
    finally:
        host.run("ip", "netns", "del", "by-hand")


def test_a_link_in_the_place_of_a_pin(host: Host, daemon: Start, cli: Cli) -> None:
    """A link in the place of a pin, to the host's namespace even, is replaced: the host's own is never configured."""
    daemon().stop()
    before = host.run("ip", "-json", "link").stdout.count('"ifname":"eth0"')
    container = run(host, "web")
    pin = host.path(f"/run/netns/dockercni-{container}")
    pin.parent.mkdir(exist_ok=True)
    host.run("ln", "-s", "/proc/1/ns/net", f"/run/netns/dockercni-{container}")
    assert cli("sync", "web").returncode == 0
    assert addresses(host, "web")
    assert not pin.is_symlink()
    assert host.run("ip", "-json", "link").stdout.count('"ifname":"eth0"') == before


def test_records_of_others(host: Host, daemon: Start, cli: Cli) -> None:
    """Nonsense that another runtime left in the cache keeps nobody from publishing a port, and stays where it is."""
    network(host, "lan", "10.7.0.0/24")
    nonsense = {
        "kind": "cniCacheV1",
        "containerId": "x",
        "config": "",
        "ifName": "eth0",
        "networkName": "lan",
        "netns": "a\0b",
        "capabilityArgs": {"portMappings": [None, {"hostPort": "x"}, {"hostPort": 8081, "containerPort": 1}]},
    }
    host.write("/var/lib/cni/results/lan-x-eth0", json.dumps(nonsense))
    evil = {
        **nonsense,
        "containerId": "..",
        "dockercni": {"schema": 1, "served": [], "done": 0, "owner": {"by": "path"}},
    }
    host.write("/var/lib/cni/results/lan-..-eth0", json.dumps(evil))
    running = daemon()
    run(host, "web", "-p", "8080:80")
    wait_attached(host, "web")
    run(host, "other", "-p", "8081:80")
    wait_attached(host, "other")  # whoever wrote that record is not there any more
    done = cli("sync")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not [event for event in running.log() if event.get("exception")]
    wait_until(lambda: cli("ps").returncode == 0, 5, "ps")
    assert {path.name for path in host.path("/var/lib/cni/results").iterdir()} > {"lan-x-eth0", "lan-..-eth0"}
