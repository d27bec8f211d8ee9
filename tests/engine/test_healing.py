"""What was wiped, deleted or lost comes back, with the same address, without a restart of the container."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.engine.daemons import Daemon
from tests.hosts import IMAGE, Host, NoAnswer, Outside, leftovers, peer_of, serve_tcp, wait_until

Cli = Callable[..., CompletedProcess[str]]
Start = Callable[..., Daemon]


SEARCHED = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")


def run_web(host: Host) -> None:
    host.docker("run", "-d", "--name", "web", "--network", "none", "-p", "8080:80", IMAGE, *serve_tcp(80))


def address(host: Host, name: str = "web") -> str:
    shown = json.loads(host.container(name).run("ip", "-json", "-4", "address", "show", "dev", "eth0").stdout)
    return str(shown[0]["addr_info"][0]["local"])


def published(host: Host, outside: Outside) -> bool:
    try:
        return bool(
            host.tcp_request("127.0.0.1", 8080, timeout=1)
            and outside.tcp_request(outside.host_address, 8080, timeout=1)
        )
    except NoAnswer:
        return False


def masqueraded(host: Host, outside: Outside) -> bool:
    try:
        return peer_of(host.container("web").tcp_request(outside.address, 9000, timeout=1)) == outside.host_address
    except NoAnswer:
        return False


@pytest.mark.parametrize(
    "wipe",
    [("iptables", "-F"), ("iptables", "-t", "nat", "-F"), ("nft", "flush", "ruleset")],
    ids=" ".join,
)
@pytest.mark.parametrize("backend", ["builtin", "exec"])
def test_wiped_rules(host: Host, outside: Outside, daemon: Start, wipe: tuple[str, ...], backend: str) -> None:
    """Rules that are wiped come back by themselves: published port and masquerade work, the address is the same."""
    outside.serve_tcp(9000)
    daemon("--attach-running", f"--backend={backend}")
    run_web(host)
    wait_until(lambda: published(host, outside), 20, "port published")
    before = address(host)
    try:
        host.run(*wipe)
        wait_until(lambda: published(host, outside), 20, "port published again")
        wait_until(lambda: masqueraded(host, outside), 20, "masqueraded again")
        assert address(host) == before
    finally:  # Docker's own rules are gone as well, and come back with the engine
        host.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
        host.kill_engine()


def nat_rules(host: Host) -> set[str]:
    """The rules of the reference plugins' chains, and those that lead there."""
    saved = host.run("iptables-save", "-t", "nat").stdout.splitlines()
    return {line for line in saved if line.startswith("-A ") and "CNI-" in line}


@pytest.mark.timeout(300)
def test_one_rule_wiped(host: Host, outside: Outside, daemon: Start) -> None:
    """Of what the executables have in the nat table every single rule comes back by itself."""
    daemon("--attach-running", "--backend=exec")
    run_web(host)
    wait_until(lambda: published(host, outside), 20, "port published")
    wait_until(lambda: len(nat_rules(host)) >= 10, 20, "all rules", lambda: nat_rules(host))
    before = nat_rules(host)
    for rule in sorted(before):
        host.run("/bin/sh", "-c", f"iptables -t nat -D {rule.removeprefix('-A ')}")
        wait_until(lambda: nat_rules(host) == before, 20, f"again: {rule}", lambda: before ^ nat_rules(host))


@pytest.mark.parametrize(
    ("damage", "verb"),
    [
        (("ip", "address", "flush", "dev", "eth0"), "REPAIR"),
        (("ip", "route", "delete", "default"), "REPAIR"),
        (("ip", "link", "delete", "eth0"), "ADD"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_damaged_interface(
    host: Host, outside: Outside, daemon: Start, cli: Cli, damage: tuple[str, ...], verb: str
) -> None:
    """An address, a default route or a whole link that is gone from a container is put back by one sync."""
    running = daemon()
    run_web(host)
    wait_until(lambda: published(host, outside), 20, "port published")
    running.kill()  # it hears of a link that is gone, and would be faster
    before = address(host)
    host.container("web").run(*damage)
    done = cli("sync", check=True)
    assert f"{verb} web dockercni eth0" in done.stdout
    assert address(host) == before
    assert "default" in host.container("web").run("ip", "route").stdout
    wait_until(lambda: published(host, outside), 20, "port published again")
    assert "0 repaired" in cli("sync", check=True).stdout


@pytest.mark.parametrize(
    "loss",
    [
        "rm -rf /var/lib/cni/results",
        "for f in /var/lib/cni/results/*; do head -c 40 $f >/run/head; cat /run/head >$f; done",
        "umount -l /run/netns/dockercni-*",
        "umount -l /run/netns/dockercni-*; rm /run/netns/dockercni-*",
        "for f in /var/lib/dockercni/containers/*; do : >$f; done",
        "rm -rf /var/lib/dockercni/*",
    ],
)
def test_lost_records(host: Host, outside: Outside, daemon: Start, cli: Cli, loss: str) -> None:
    """A lost record, pin or memory costs a running container nothing for longer than one sync, and nothing leaks."""
    running = daemon("--attach-running")
    run_web(host)
    wait_until(lambda: published(host, outside), 20, "port published")
    before = address(host)
    host.run("/bin/sh", "-c", loss)
    done = cli("sync", check=True)
    assert done.stdout.splitlines()[-1].startswith("converged: 1 container, 1 attachment"), done.stdout
    assert address(host) == before
    assert published(host, outside)
    host.docker("rm", "-f", "web")
    wait_until(lambda: not leftovers(host), 20, "nothing left", lambda: "\n".join(leftovers(host)))
    assert running.program.running


def test_same_address_after_restart(host: Host, daemon: Start) -> None:
    """A container gets the address it had, after restart and after stop and start, while others come and go."""
    running = daemon()
    for name in ("web", "other"):
        host.docker("run", "-d", "--name", name, "--network", "none", IMAGE)
        running.wait_event("ADD", container=name)
    before = address(host)
    for again in (("restart",), ("stop", "start")):
        seen = len(running.log())
        for verb in again:
            host.docker(verb, "web")
        running.wait_event("ADD", container="web", after=seen)
        assert address(host) == before


def test_address_taken_meanwhile(host: Host, daemon: Start) -> None:
    """A container whose address somebody else got while it was stopped starts with another one."""
    running = daemon()
    host.docker("run", "-d", "--name", "web", "--network", "none", IMAGE)
    running.wait_event("ADD", container="web")
    before = address(host)
    host.docker("stop", "web")
    running.wait_event("DEL", container="web")
    host.docker("run", "-d", "--name", "thief", "--network", "none", "--label", f"dockercni.ip={before}", IMAGE)
    running.wait_event("ADD", container="thief")
    seen = len(running.log())
    host.docker("start", "web")
    running.wait_event("ADD", container="web", after=seen)
    assert address(host, "thief") == before
    assert address(host) != before


def test_configuration_gone(host: Host, daemon: Start, cli: Cli) -> None:
    """A container whose network's file is gone keeps its network, which sync says; its DEL leaves nothing behind."""
    bridge = {"type": "bridge", "bridge": "lan0", "isGateway": True, "ipMasq": True}
    ipam = {"type": "host-local", "subnet": "10.9.0.0/24"}
    lan = {"cniVersion": "1.0.0", "name": "lan", "plugins": [{**bridge, "ipam": ipam}, {"type": "firewall"}]}
    host.write("/etc/cni/net.d/10-lan.conflist", json.dumps(lan))
    running = daemon()
    host.docker("run", "-d", "--name", "web", "--network", "none", IMAGE)
    running.wait_event("ADD", container="web", network="lan")
    host.path("/etc/cni/net.d/10-lan.conflist").unlink()
    done = cli("sync")
    assert (done.returncode, "until the container's next start" in done.stdout) == (3, True), done.stdout
    assert address(host).startswith("10.9.0.")
    host.docker("rm", "-f", "web")
    wait_until(lambda: not leftovers(host), 20, "nothing left", lambda: "\n".join(leftovers(host)))


@pytest.mark.parametrize("gone", ["bridge", "portmap", "firewall", "host-local", "*"])
def test_executable_gone(host: Host, daemon: Start, gone: str) -> None:
    """A container whose plugins were removed since its start leaves nothing behind when it goes."""
    source = next(path for path in SEARCHED if host.path(f"{path}/bridge").exists())
    host.run("/bin/sh", "-c", f"rm -rf /run/bin; cp -r {source} /run/bin")
    running = daemon("--backend=exec", "--cni-bin-dir=/run/bin")
    run_web(host)
    running.wait_event("ADD", container="web")
    host.run("/bin/sh", "-c", f"rm /run/bin/{gone}")
    host.docker("rm", "-f", "web")
    wait_until(lambda: not leftovers(host), 20, "nothing left", lambda: "\n".join(leftovers(host)))


def test_namespace_gone(host: Host, daemon: Start, cli: Cli) -> None:
    """A container that died with its namespace while nobody watched leaves no lease and no rule after one sync."""
    running = daemon("--backend=exec")
    run_web(host)
    running.wait_event("ADD", container="web")
    running.kill()
    host.run("/bin/sh", "-c", "umount -l /run/netns/dockercni-*; rm /run/netns/dockercni-*")
    host.docker("rm", "-f", "web")
    assert any("CNI-" in line for line in leftovers(host)), "the rules outlive the namespace"
    cli("sync", check=True)
    assert leftovers(host) == []


def test_gc(host: Host, daemon: Start, cli: Cli) -> None:
    """A lease that bears a container of ours and has no record is removed; one of a stranger is only named."""
    running = daemon()
    host.docker("run", "-d", "--name", "web", "--network", "none", IMAGE)
    running.wait_event("ADD", container="web")
    ours = host.docker("inspect", "--format={{.Id}}", "web")
    store = "/var/lib/cni/networks/dockercni"
    host.write(f"{store}/10.22.7.7", f"{ours}\r\neth7")
    host.write(f"{store}/10.22.7.8", f"{'5' * 64}\r\neth0")
    dry = cli("gc", "--dry-run")
    assert dry.returncode == 3, dry.stderr
    assert "would GC lease 10.22.7.7" in dry.stdout
    assert host.path(f"{store}/10.22.7.7").exists()
    told = {
        ("gc",): ("GC lease 10.22.7.7", "NOTE lease 10.22.7.8"),
        ("sync",): ("GC lease 10.22.7.7", "NOTE lease 10.22.7.8"),
        ("sync", "-o", "name"): (),
        ("sync", "-o", "json"): ('"what": "lease 10.22.7.7', '"what": "lease 10.22.7.8'),
    }
    for command, words in told.items():
        host.write(f"{store}/10.22.7.7", f"{ours}\r\neth7")
        done = cli(*command, check=True)
        assert all(each in done.stdout for each in words), done.stdout
        assert not host.path(f"{store}/10.22.7.7").exists()
        assert host.path(f"{store}/10.22.7.8").exists()
    host.write(f"{store}/10.22.7.7", f"{ours}\r\neth7")
    os.kill(running.program.pid, signal.SIGHUP)
    running.wait_event("GC", id=ours)
    assert not host.path(f"{store}/10.22.7.7").exists()
    assert host.path(f"{store}/10.22.7.8").exists()


NFT_PLUGINS = Path(__file__).parents[1] / "plugins" / "nft"
NFT_WIPES = {
    "everything": "nft flush ruleset",
    "a table": "nft delete table ip cni_hostport; nft delete table inet cni_plugins_masquerade",
    "a chain": "nft flush chain ip cni_hostport prerouting; nft flush chain inet cni_plugins_masquerade masq_checks",
}


@pytest.mark.parametrize("wipe", NFT_WIPES)
def test_wiped_rules_of_nftables_backends(host: Host, outside: Outside, daemon: Start, wipe: str) -> None:
    """What the reference plugins have in nftables comes back once, by itself, and goes with its container."""
    ipam = {"type": "host-local", "subnet": "10.9.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}
    masquerade = {"ipMasq": True, "ipMasqBackend": "nftables"}
    bridge = {"type": "bridge", "bridge": "nft0", "isGateway": True, "hairpinMode": True, **masquerade, "ipam": ipam}
    portmap = {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": True}}
    lan = {"cniVersion": "1.0.0", "name": "lan", "plugins": [bridge, portmap]}
    host.write("/etc/cni/net.d/10-lan.conflist", json.dumps(lan))
    outside.serve_tcp(9000)
    daemon(f"--cni-bin-dir={NFT_PLUGINS}:{':'.join(SEARCHED)}")
    run_web(host)
    wait_until(lambda: published(host, outside), 20, "port published")
    try:
        host.run("sh", "-ec", NFT_WIPES[wipe])
        wait_until(lambda: published(host, outside), 20, "port published again")
        wait_until(lambda: masqueraded(host, outside), 20, "masqueraded again")
        rules = host.run("nft", "list", "ruleset").stdout
        assert rules.count("dport 8080 dnat to") == 1
        assert rules.count("ip daddr != 10.9.0.0/24") == 1
        host.docker("rm", "-f", "web")
        wait_until(lambda: "10.9.0.2" not in host.run("nft", "list", "ruleset").stdout, 20, "no rules of the container")
    finally:
        host.run("sh", "-c", "nft delete table ip cni_hostport; nft delete table inet cni_plugins_masquerade")
        if wipe == "everything":  # Docker's own rules are gone as well, and come back with the engine
            host.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
            host.kill_engine()
