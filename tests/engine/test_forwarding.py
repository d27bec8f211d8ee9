"""The rules in DOCKER-USER: there with the first container of a bridge, gone with the last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.engine.containers import ask, network, run, wait_clean
from tests.hosts import serve_tcp, wait_until

if TYPE_CHECKING:
    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host, Outside


def rules(host: Host) -> list[str]:
    """The rules of DOCKER-USER, without Docker's own last one."""
    lines = host.run("iptables", "-S", "DOCKER-USER").stdout.splitlines()
    return [line.removeprefix("-A DOCKER-USER ") for line in lines[1:] if line != "-A DOCKER-USER -j RETURN"]


def accepts(bridge: str) -> list[str]:
    """What a bridge in use has there."""
    mark = f'-m comment --comment "dockercni:{bridge}" -j ACCEPT'
    return [
        f"-i {bridge} {mark}",
        f"-o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED {mark}",
        f"-o {bridge} -m conntrack --ctstate DNAT {mark}",
    ]


def test_first_and_last(host: Host, daemon: Start) -> None:
    """A bridge's rules come with its first container, stay while one is left, and go with the last; those of another
    bridge are not touched."""
    network(host, "a", "10.77.1.0/24")
    network(host, "b", "10.77.2.0/24")
    host.run("iptables", "-A", "DOCKER-USER", "-s", "203.0.113.9", "-j", "DROP")
    running = daemon()
    for name, which in (("one", "a"), ("two", "a"), ("other", "b")):
        run(host, name, f"--label=dockercni.networks={which}")
        running.wait_event("ADD", container=name)
    own = ["-s 203.0.113.9/32 -j DROP"]
    assert rules(host) == accepts("cni-b") + accepts("cni-a") + own
    host.docker("rm", "--force", "one")
    running.wait_event("DEL", container="one")
    assert rules(host) == accepts("cni-b") + accepts("cni-a") + own
    host.docker("rm", "--force", "two")
    running.wait_event("DEL", container="two")
    wait_until(lambda: rules(host) == accepts("cni-b") + own, 10, "the end of the rules", lambda: rules(host))
    host.docker("rm", "--force", "other")
    wait_until(lambda: rules(host) == own, 10, "the end of the rules", lambda: rules(host))
    host.run("iptables", "-D", "DOCKER-USER", "-s", "203.0.113.9", "-j", "DROP")
    wait_clean(host)


def test_closed_by_one_process_opened_by_another(host: Host, daemon: Start, cli: Cli) -> None:
    """What the daemon opened and a command closed is opened again for the next container of the daemon."""
    running = daemon()
    run(host, "one")
    running.wait_event("ADD", container="one")
    cli("del", "one", check=True)
    assert rules(host) == []
    run(host, "two")
    running.wait_event("ADD", container="two")
    assert rules(host) == accepts("dockercni0")


def test_after_the_engine_restarted(host: Host, outside: Outside, daemon: Start) -> None:
    """A published port answers the outside again after the engine was restarted."""
    running = daemon()
    run(host, "web", "--restart=always", "--publish=8080:80", command=serve_tcp(80))
    running.wait_event("ADD", container="web")
    assert ask(outside, "tcp", outside.host_address, 8080)
    before = len(running.log())
    host.stop_engine()
    host.start_engine()
    running.wait_event("ADD", container="web", after=before, timeout=40)
    assert ask(outside, "tcp", outside.host_address, 8080)
    assert rules(host) == accepts("dockercni0")


def test_flushed_rules(host: Host, outside: Outside, daemon: Start) -> None:
    """Rules that somebody flushed are there again with the next container after a look at all."""
    running = daemon()
    run(host, "web", "--publish=8080:80", command=serve_tcp(80))
    running.wait_event("ADD", container="web")
    host.run("iptables", "-F", "DOCKER-USER")
    host.run("iptables", "-A", "DOCKER-USER", "-j", "RETURN")
    running.program.process.send_signal(1)  # SIGHUP
    running.wait_event("looking at all", hint="SIGHUP")
    run(host, "next")
    running.wait_event("ADD", container="next")
    assert rules(host) == accepts("dockercni0")
    assert ask(outside, "tcp", outside.host_address, 8080)
