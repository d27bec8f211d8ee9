"""`dockercni add` and `dockercni del`: attachments that people make."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import address, addresses, conflist, network, run, wait_clean
from tests.hosts import IMAGE, leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host

PATH = "/run/netns/lab"


@pytest.fixture
def lab(host: Host) -> Iterator[str]:
    """The path of a namespace that `ip netns add` made."""
    host.run("ip", "netns", "add", "lab")
    yield PATH
    host.run("ip", "netns", "del", "lab", check=False)


def inside(host: Host) -> dict[str, list[str]]:
    """The interfaces of that namespace and their IPv4 addresses."""
    found = {}
    for link in json.loads(host.run("ip", "-netns", "lab", "-json", "address").stdout):
        ipv4 = [info for info in link["addr_info"] if info["family"] == "inet"]
        found[link["ifname"]] = [f"{info['local']}/{info['prefixlen']}" for info in ipv4]
    return found


def gone_but_rules(host: Host) -> bool:
    """Whether nothing is left but rules: the reference bridge leaves its masquerade rules with a lost namespace."""
    return all(line.startswith(("iptables", "pin lab")) for line in leftovers(host))


def test_namespace(host: Host, cli: Cli, lab: str) -> None:
    """`add ID PATH` attaches any namespace, without an engine; `del ID` takes it back and leaves the namespace."""
    host.stop_engine()
    done = cli("add", "my-lab", lab, check=True)
    (got,) = inside(host)["eth0"]
    assert done.stdout.startswith(f"ADD my-lab eth0 {got} ")
    (row,) = json.loads(cli("ps", "-o", "json").stdout)["attachments"]
    assert (row["container"], row["netns"], row["state"]) == ("my-lab", lab, "attached")
    assert cli("del", "my-lab", check=True).stdout == "DEL my-lab dockercni eth0\n"
    assert leftovers(host) == ["pin lab"]
    assert "eth0" not in inside(host)


def test_options(host: Host, cli: Cli, lab: str) -> None:
    """Network, interface and CNI_ARGS can be said, before or after the names; -o json prints the CNI result."""
    network(host, "a", "10.77.1.0/24")
    network(host, "b", "10.77.2.0/24")
    network(host, "c", "10.77.3.0/24")
    done = cli("add", "--network", "b", "x", lab, "--ifname=lan0", "--arg", "IP=10.77.2.50", "-o", "json", check=True)
    result = json.loads(done.stdout)
    assert result["cniVersion"] == "1.0.0"
    assert [ip["address"] for ip in result["ips"]] == ["10.77.2.50/24"] == inside(host)["lan0"]
    cli("add", "x", lab, check=True)
    assert inside(host)["eth0"] == ["10.77.1.2/24"]
    cli("add", "x", lab, "--network=c", check=True)  # the next free name
    assert inside(host)["eth1"] == ["10.77.3.2/24"]
    assert cli("add", "x", lab, "--ifname=eth0").returncode == 2
    assert cli("add", "x", lab, "--network=none-such").returncode == 2
    assert cli("del", "x", "--network=b", "--ifname=lan0", check=True).stdout == "DEL x b lan0\n"
    assert set(inside(host)) == {"lo", "eth0", "eth1"}
    assert len(cli("del", "x", check=True).stdout.splitlines()) == 2
    assert leftovers(host) == ["pin lab"]


def test_namespace_that_goes(host: Host, cli: Cli, lab: str) -> None:
    """What was attached to a namespace stays while that is there, and is taken back by `sync` when it is gone."""
    cli("add", "my-lab", lab, check=True)
    assert cli("sync").stdout.splitlines() == ["converged: 1 container, 1 attachment, 0 repaired"]
    assert inside(host)["eth0"]
    host.run("ip", "netns", "del", "lab")
    done = cli("sync")
    assert done.returncode == 0
    assert done.stdout.startswith("DEL my-lab dockercni eth0 ")
    assert "(its namespace is gone)" in done.stdout
    assert gone_but_rules(host), leftovers(host)


def test_namespace_that_was_replaced(host: Host, cli: Cli, lab: str) -> None:
    """Another namespace at the same path is not taken for the one that was attached."""
    cli("add", "my-lab", lab, check=True)
    host.run("ip", "netns", "del", "lab")
    host.run("ip", "netns", "add", "lab")
    assert "(its namespace is gone)" in cli("sync").stdout
    assert set(inside(host)) == {"lo"}
    assert gone_but_rules(host), leftovers(host)


def test_name_of_a_container(host: Host, daemon: Start, cli: Cli, lab: str) -> None:
    """A namespace attached under an id that is also a container's name is not taken for that container."""
    running = daemon()
    run(host, "web")
    running.wait_event("ADD", container="web")
    cli("add", "web", lab, "--ifname=lan0", check=True)
    before = leftovers(host)
    done = cli("sync")
    assert done.stdout.splitlines() == ["converged: 2 containers, 2 attachments, 0 repaired"], done.stderr
    assert leftovers(host) == before
    host.docker("rm", "--force", "web")
    running.wait_event("DEL", container="web")
    assert cli("sync").returncode == 0
    assert inside(host)["lan0"]
    cli("del", "web", check=True)
    assert leftovers(host) == ["pin lab"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/run/netns/missing", "no such network namespace"),
        ("/etc/hostname", "not a network namespace"),
        ("/proc/self/ns/mnt", "not a network namespace"),
        ("/proc/self/ns/net", "the host's own"),
    ],
)
def test_what_is_no_namespace(host: Host, cli: Cli, path: str, words: str) -> None:
    """What is no network namespace, or is the host's own, is refused with its path, and nothing is changed."""
    done = cli("add", "x", path)
    assert done.returncode in {1, 2}
    assert path in done.stderr
    assert words in done.stderr
    assert leftovers(host) == []


def test_container(host: Host, daemon: Start, cli: Cli) -> None:
    """`add CONTAINER` gives a running container one more network, which daemon and `sync` leave alone and which goes
    with the container."""
    network(host, "a", "10.77.1.0/24")
    network(host, "b", "10.77.2.0/24")
    running = daemon()
    run(host, "web")
    running.wait_event("ADD", container="web")
    done = cli("add", "web", "--network=b", check=True)
    assert done.stdout.startswith("ADD web eth1 10.77.2.2/24 ")
    assert cli("sync").stdout.splitlines() == ["converged: 1 container, 2 attachments, 0 repaired"]
    assert address(host, "web", "eth1") == "10.77.2.2"
    host.docker("rm", "--force", "web")
    running.wait_event("DEL", container="web", network="b")
    wait_clean(host)


def test_container_of_docker(host: Host, daemon: Start, cli: Cli) -> None:
    """A container on Docker's bridge can get a CNI network by hand, and keeps Docker's."""
    running = daemon()
    host.docker("run", "--detach", "--name=web", IMAGE)
    before = addresses(host, "web")
    assert cli("add", "web", check=True).stdout.startswith("ADD web eth1 10.22.")
    assert cli("sync").stdout.splitlines()[-1] == "converged: 1 container, 1 attachment, 0 repaired"
    assert addresses(host, "web") == before
    host.docker("rm", "--force", "web")
    running.wait_event("DEL", container="web")
    wait_clean(host)


def test_failure_changes_nothing(host: Host, cli: Cli, lab: str) -> None:
    """An ADD by hand that fails says what the plugin said, with exit code 1, and leaves nothing."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.77.1.0/24"}]]}
    tuning = {"type": "tuning", "sysctl": {"net.no.such": "1"}}
    conflist(host, "bad", [{"type": "bridge", "bridge": "cni-bad", "ipam": ipam}, tuning])
    done = cli("add", "x", lab)
    assert done.returncode == 1
    assert 'plugin "tuning" failed (add)' in done.stderr
    run(host, "web")
    assert cli("add", "web").returncode == 1
    assert leftovers(host) == ["pin lab"]
    assert set(inside(host)) == {"lo"}
