"""The resolver as a process, with containers that are namespaces, `dig` that asks, and dnsmasq that knows the rest."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dockercni.companions.starter import Kind
from dockercni.resolver import messages
from tests.hosts import Host, wait_until
from tests.hosts.commands import Background

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
RUN = "/run/dockercni"
WEB, DB = "1" * 64, "2" * 64
UPSTREAM = "10.99.0.1"
MIB = 1024


class World:
    """A host with a DNS server on 127.0.0.53, one on a bridge, and two containers on that bridge."""

    def __init__(self, host: Host, directory: Path) -> None:
        self.host = host
        self.directory = directory
        self.daemons: list[Background] = []
        self.ports: dict[str, dict[str, int]] = {}
        (directory / "resolv.conf").write_text("nameserver 127.0.0.53\n")
        host.run("mount", "--bind", str(directory / "resolv.conf"), "/etc/resolv.conf")
        host.run("ip", "link", "add", "br0", "type", "bridge")
        host.run("ip", "address", "add", f"{UPSTREAM}/24", "dev", "br0")
        host.run("ip", "link", "set", "br0", "up")
        for number, name in enumerate(("web", "db"), 2):
            host.run("ip", "netns", "add", name)
            host.run("ip", "link", "add", f"v{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
            host.run("ip", "link", "set", f"v{name}", "master", "br0", "up")
            for words in ("link set lo up", f"address add 10.99.0.{number}/24 dev eth0", "link set eth0 up"):
                host.run("ip", "-netns", name, *words.split())
        self.of_host = self.serve("127.0.0.53", "host.example", "192.0.2.1")
        self.of_network = self.serve(UPSTREAM, "net.example", "192.0.2.2")

    def close(self) -> None:
        for daemon in self.daemons:
            if daemon.running:
                daemon.kill()
        for pid in self.resolvers():
            os.kill(pid, signal.SIGKILL)
        for server in (self.of_host, self.of_network):
            server.kill()
        self.host.run("umount", "/etc/resolv.conf")

    def serve(self, address: str, name: str, known: str) -> Background:
        """A dnsmasq there that knows that name, and a text of 2,000 bytes at big.NAME."""
        text = [f"--txt-record=big.{name}," + ",".join(["x" * 200] * 10)]
        started = self.host.popen(
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--log-facility=-",
            "--no-resolv",
            "--no-hosts",
            "--user=root",
            "--pid-file=",
            "--bind-interfaces",
            f"--listen-address={address}",
            "--except-interface=lo" if address == UPSTREAM else "--interface=lo",
            f"--address=/{name}/{known}",
            "--local=/example/",
            "--edns-packet-max=4096",
            *text,
        )
        wait_until(lambda: "started" in started.text() or not started.running, 10, "dnsmasq", started.text)
        assert started.running, started.text()
        return started

    def daemon(self, *, servers: dict[str, list[str]] | None = None, extra: int = 0) -> Background:
        """A daemon that tells the resolver of both containers, and of so many others."""
        said = json.dumps({"run": RUN, "servers": servers or {}, "extra": extra})
        started = self.host.popen(
            sys.executable, "-m", "tests.netns.resolving", said, env={"PYTHONPATH": str(ROOT)}, log=None
        )
        self.daemons.append(started)
        wait_until(lambda: "ready" in started.text() or not started.running, 30, "the daemon", started.text)
        assert started.running, started.text()
        self.ports = json.loads(started.text().splitlines()[-2])
        wait_until(lambda: self.asked("db", check=False), 20, "the resolver", started.text)
        return started

    def dig(self, *words: str, asker: str = "web", tcp: bool = False, check: bool = True) -> str:
        """What dig prints in a container."""
        port = self.ports[WEB if asker == "web" else DB]["tcp" if tcp else "udp"]
        options = ["+tcp" if tcp else "+ignore", "+tries=1", "+timeout=6", "-p", str(port), "@127.0.0.11"]
        return self.host.run("ip", "netns", "exec", asker, "dig", *options, *words, check=check).stdout

    def asked(self, *words: str, **options: Any) -> list[str]:
        """The data of the records of the answer."""
        return self.dig("+short", *words, **options).split()

    def resolvers(self) -> list[int]:
        """The resolvers of this host."""
        found = self.host.run("pgrep", "-f", "dockercni.resolver.process", check=False).stdout.split()
        members = set(self.host.members.find())
        return [int(pid) for pid in found if int(pid) in members]


@pytest.fixture
def world(host: Host, tmp_path: Path) -> Iterator[World]:
    """No resolver runs yet."""
    made = World(host, tmp_path)
    yield made
    made.close()


def test_names(world: World) -> None:
    """Containers find each other by name, alias, short id, and address, over UDP and TCP."""
    world.daemon()
    for tcp in (False, True):
        assert world.asked("db", tcp=tcp) == ["10.99.0.3"]
        assert world.asked("DB.", tcp=tcp) == ["10.99.0.3"]
        assert world.asked("postgres", tcp=tcp) == ["10.99.0.3"]
        assert world.asked("2" * 12, tcp=tcp) == ["10.99.0.3"]
        assert world.asked("db.net", tcp=tcp) == ["10.99.0.3"]
        assert world.asked("web", asker="db", tcp=tcp) == ["10.99.0.2"]
        assert world.asked("-x", "10.99.0.3", tcp=tcp) == ["db.net."]
    shown = world.dig("db", "AAAA")
    assert "status: NOERROR" in shown
    assert "ANSWER: 0" in shown
    assert "status: BADVERS" in world.dig("db", "+edns=1", "+noednsneg")
    assert "status: NXDOMAIN" in world.dig("nosuch.example")


def test_other_names(world: World) -> None:
    """Other names are asked of the host's servers, from the host, or of a container's own, from its namespace."""
    world.daemon(servers={DB: [UPSTREAM]})
    assert world.asked("host.example") == ["192.0.2.1"]
    assert world.asked("net.example") == []
    assert world.asked("net.example", asker="db") == ["192.0.2.2"]
    assert world.asked("net.example", asker="db", tcp=True) == ["192.0.2.2"]
    short = world.dig("big.host.example", "TXT", "+noedns")
    assert " tc " in short.replace(";", " ; ")
    assert len(world.dig("big.host.example", "TXT", "+short", tcp=True)) > 2000
    assert len(world.dig("big.host.example", "TXT", "+short", "+bufsize=4096")) > 2000


def test_dead_server(world: World) -> None:
    """A server that is dead costs its time once; when it is alone, askers hear that it failed, and not for long."""
    world.daemon(servers={DB: ["10.99.0.77", UPSTREAM], WEB: [UPSTREAM]})
    times = [_time(world.dig("net.example", asker="db")) for _ in range(4)]
    assert 1400 <= times[0] < 3000
    assert max(times[1:]) < 500
    world.of_network.process.send_signal(signal.SIGSTOP)
    try:
        assert "status: SERVFAIL" in world.dig("net.example")
    finally:
        world.of_network.process.send_signal(signal.SIGCONT)
    assert world.asked("net.example") == ["192.0.2.2"]


def test_daemon_is_killed(world: World) -> None:
    """While the daemon is killed, and started again, the resolver answers; the next daemon goes on with it."""
    first = world.daemon()
    ports, resolvers = world.ports, world.resolvers()
    first.kill()
    assert world.asked("db") == ["10.99.0.3"]
    assert world.asked("host.example") == ["192.0.2.1"]
    world.daemon()
    assert (world.ports, world.resolvers()) == (ports, resolvers)
    assert world.asked("db") == ["10.99.0.3"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_resolver_is_killed(world: World, how: signal.Signals) -> None:
    """A resolver that dies or hangs is replaced, and with the same sockets: a question that was waiting is answered."""
    daemon = world.daemon()
    (pid,) = world.resolvers()
    os.kill(pid, how)
    words = ["ip", "netns", "exec", "web", "dig", "+short", "+tries=1", "+timeout=20", "@127.0.0.11"]
    shown = world.host.run(*words, "-p", str(world.ports[WEB]["udp"]), "db", timeout=40).stdout
    assert shown.split() == ["10.99.0.3"], daemon.text()
    assert world.resolvers() != [pid]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_both_are_killed(world: World, how: signal.Signals) -> None:
    """When nothing is left of either, or the next daemon finds a resolver that hangs, sockets are made again."""
    first = world.daemon()
    (pid,) = world.resolvers()
    first.kill()
    os.kill(pid, how)
    world.daemon()
    assert world.resolvers() != [pid]
    assert world.asked("db") == ["10.99.0.3"]


def test_dismissed(world: World) -> None:
    """Who takes everything back ends the resolver, and finds it ended."""
    first = world.daemon()
    first.kill()
    code = f"from pathlib import Path; from dockercni.resolver.client import dismiss; dismiss(Path({RUN!r}))"
    world.host.run(sys.executable, "-c", code, env={"PYTHONPATH": str(ROOT)})
    assert not world.host.path(f"{RUN}/{messages.SOCKET}").exists()
    wait_until(lambda: not world.resolvers(), 10, "its end")


def test_memory(world: World) -> None:
    """With two hundred containers the resolver takes at most 25 MiB."""
    world.daemon(extra=200)
    (pid,) = world.resolvers()
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    assert resident <= 25 * MIB


@pytest.mark.slow
def test_no_question_is_lost(world: World) -> None:
    """Of ten thousand questions, asked while the daemon is killed and started five times, each is answered in time."""
    daemon = world.daemon()
    program = ROOT / "tests/netns/asking.py"
    port = str(world.ports[WEB]["udp"])
    asking = world.host.popen("ip", "netns", "exec", "web", sys.executable, program, port, "db", "10000")
    for _ in range(5):
        daemon.kill()
        daemon = world.daemon()
    assert asking.process.wait(120) == 0, asking.text()
    assert asking.text().split() == ["answered", "10000"]


def _time(shown: str) -> int:
    """The milliseconds that dig tells."""
    return int(shown.split("Query time: ")[1].split(maxsplit=1)[0])


def test_socket_of_a_resolver(host: Host) -> None:
    """Nobody listens where no resolver runs."""
    assert Kind("", messages.SOCKET, "none").connect(host.path(RUN)) is None
