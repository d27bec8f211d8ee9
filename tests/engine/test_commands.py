"""The commands that look and do nothing, on a host with an engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.hosts import IMAGE, Host, leftovers

if TYPE_CHECKING:
    import subprocess

    from tests.engine.daemons import Daemon

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
NET = "/etc/cni/net.d"


def network(name: str, subnet: str, version: str = "1.0.0", **more: object) -> str:
    """A bridge with host-local, as a file."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": subnet}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": f"{name}0", "isGateway": True, "ipam": ipam, **more}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": version, "name": name, "plugins": [bridge, portmap]}, indent=1)


@pytest.fixture
def lan(host: Host) -> None:
    """One network, lan."""
    host.write(f"{NET}/10-lan.conflist", network("lan", "10.1.0.0/24"))


def run(host: Host, name: str, *flags: str) -> str:
    """A container that has to get its networks from dockercni; returns its id."""
    return host.docker("run", "--detach", f"--name={name}", "--network=none", *flags, IMAGE)


def printed(done: subprocess.CompletedProcess[str]) -> Any:
    """The JSON on stdout; a traceback on stderr is not borne."""
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


@pytest.mark.usefixtures("lan")
class TestCheck:
    """dockercni check"""

    def test_a_sound_attachment(self, host: Host, cli: Cli) -> None:
        """An attachment that is as ADD left it is ok."""
        run(host, "web")
        cli("sync", check=True)
        done = cli("check")
        assert (done.returncode, done.stdout) == (0, "ok web lan eth0\n")
        assert (cli("check", "web").returncode, cli("check", "nobody").returncode) == (0, 2)

    def test_a_damaged_one(self, host: Host, cli: Cli) -> None:
        """An address that was taken away is a complaint, exit code 3, and nothing is repaired."""
        run(host, "web")
        run(host, "other")
        cli("sync", check=True)
        host.container("web").run("ip", "address", "flush", "dev", "eth0")
        done = cli("check", "-o", "json")
        assert done.returncode == 3
        verdicts = {one["container"]: one["verdict"] for one in printed(done)["checks"]}
        assert verdicts == {"web": "failed", "other": "ok"}
        assert cli("check", "other").returncode == 0
        assert "10.1.0." not in host.container("web").run("ip", "address").stdout

    def test_an_old_version_has_none(self, host: Host, cli: Cli) -> None:
        """Below 0.4.0 there is no CHECK, which is said and is no complaint."""
        host.write(f"{NET}/10-lan.conflist", network("lan", "10.1.0.0/24", "0.3.1"))
        run(host, "web")
        cli("sync", check=True)
        done = cli("check")
        assert done.returncode == 0
        assert done.stdout.startswith("skipped web lan eth0: ")
        assert "0.3.1, which has no CHECK (it came with 0.4.0)" in done.stdout

    def test_a_route_in_a_table_of_its_own(self, host: Host, cli: Cli) -> None:
        """A route with a table (CNI 1.1) is looked for there, and comes back there."""
        routes = [{"dst": "0.0.0.0/0"}, {"dst": "10.99.0.0/16", "gw": "10.1.0.1", "table": 99}]
        ipam = {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]], "routes": routes}
        host.write(f"{NET}/10-lan.conflist", network("lan", "", "1.1.0", ipam=ipam))
        run(host, "web")
        cli("sync", check=True)
        assert cli("check").stdout == "ok web lan eth0\n"
        host.container("web").run("ip", "route", "delete", "10.99.0.0/16", "table", "99")
        done = cli("check")
        assert (done.returncode, "route 10.99.0.0/16 in table 99" in done.stdout) == (3, True)
        assert "REPAIR web lan eth0" in cli("sync", check=True).stdout
        assert "10.99.0.0/16" in host.container("web").run("ip", "route", "show", "table", "99").stdout

    def test_a_plugin_whose_check_is_wrong(self, host: Host, cli: Cli) -> None:
        """The reference's CHECK of a layer 2 bridge always fails: what the kernel shows counts, for all commands."""
        bridge = {"type": "bridge", "bridge": "lan0"}
        host.write(f"{NET}/10-lan.conflist", json.dumps({"cniVersion": "1.0.0", "name": "lan", "plugins": [bridge]}))
        run(host, "web")
        cli("sync", "--backend=exec", check=True)
        for command in (("check",), ("sync", "--dry-run")):
            done = cli(*command)
            assert done.returncode == 0, (command, done.stdout)
        assert "\nconverged" in cli("status").stdout


@pytest.mark.usefixtures("lan")
def test_inspect_is_shaped_like_dockers(host: Host, cli: Cli) -> None:
    """Where Docker's own inspect has a key, ours has the same with the same meaning."""
    run(host, "web", "--publish=8080:80")
    cli("sync", check=True)
    done = cli("inspect", "web", "web")
    first, second = printed(done)
    assert first == second
    theirs = json.loads(host.docker("inspect", "web"))[0]
    assert (first["Id"], first["Name"]) == (theirs["Id"], theirs["Name"])
    settings = first["NetworkSettings"]
    assert set(settings) <= set(theirs["NetworkSettings"])
    assert settings["Ports"] == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}
    assert host.run("ip", "netns", "identify").returncode == 0
    lan = settings["Networks"]["lan"]
    assert set(lan) - {"CNI"} <= set(theirs["NetworkSettings"]["Networks"]["none"])
    inside = json.loads(host.container("web").run("ip", "-json", "address", "show", "eth0").stdout)[0]
    four = next(one for one in inside["addr_info"] if one["family"] == "inet")
    assert (lan["IPAddress"], lan["IPPrefixLen"], lan["MacAddress"]) == (
        four["local"],
        four["prefixlen"],
        inside["address"],
    )
    assert (lan["Gateway"], lan["GlobalIPv6Address"]) == ("10.1.0.1", "")
    assert lan["CNI"]["File"] == f"{NET}/10-lan.conflist"
    assert [plugin["Type"] for plugin in lan["CNI"]["Plugins"]] == ["bridge", "portmap"]
    assert all(plugin["Backend"] and plugin["Engine"] for plugin in lan["CNI"]["Plugins"])
    assert lan["CNI"]["Result"]["ips"][0]["address"] == f"{four['local']}/24"


@pytest.mark.usefixtures("lan")
def test_inspect_of_a_container_without_networks(host: Host, cli: Cli) -> None:
    """A container without attachments has an empty map; an unknown one is an error and prints nothing."""
    run(host, "web")
    assert printed(cli("inspect", "web"))[0]["NetworkSettings"] == {"SandboxKey": "", "Ports": {}, "Networks": {}}
    done = cli("inspect", "web", "nobody")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'dockercni: there is no container "nobody"\n'


def test_explain_names_what_decided(host: Host, cli: Cli) -> None:
    """The label, the setting, the file, or that there is none: each is named, with what sync would do."""
    run(host, "web", "--publish=8080:80")
    run(host, "bridged")
    built_in = cli("explain", "web")
    assert built_in.returncode == 0
    assert f"wants dockercni as eth0: no label names one, and this is the default: there is no file in {NET}" in (
        built_in.stdout
    )
    assert "publishes 80/tcp through dockercni, the first that can" in built_in.stdout
    assert "next sync: would ADD web dockercni eth0" in built_in.stdout
    host.write(f"{NET}/10-lan.conflist", network("lan", "10.1.0.0/24"))
    host.write(f"{NET}/20-wan.conflist", network("wan", "10.2.0.0/24"))
    assert f"the first file of {NET} ({NET}/10-lan.conflist)" in cli("explain", "web").stdout
    setting = cli("explain", "web", "--default-network=wan").stdout
    assert "wants wan as eth0: no label names one, and default-network is set (flag --default-network)" in setting
    run(host, "labelled", "--label=dockercni.networks=wan@x1", "--label=dockercni.ip=10.2.0.9")
    assert "wants wan as x1, 10.2.0.9: label dockercni.networks=wan@x1" in cli("explain", "labelled").stdout
    run(host, "wrong", "--label=dockercni.netwroks=wan")
    assert "label dockercni.netwroks=wan: unknown label; did you mean dockercni.networks?" in (
        cli("explain", "wrong").stdout
    )
    host.docker("run", "--detach", "--name=docks", IMAGE)
    mode = host.docker("inspect", "--format={{.HostConfig.NetworkMode}}", "docks")  # "bridge" since Docker 26
    assert f"wants no network: its network mode is {mode}, not none" in cli("explain", "docks").stdout
    assert cli("explain", "nobody").returncode == 2
    assert [line for line in leftovers(host) if not line.startswith("link veth")] == []


def test_explain_names_dropped_labels(host: Host, cli: Cli) -> None:
    """A label that comes with the image is said to be dropped, and what to do; with trust-image-labels it counts."""
    host.write(f"{NET}/10-lan.conflist", network("lan", "10.1.0.0/24"))
    host.write(f"{NET}/20-wan.conflist", network("wan", "10.2.0.0/24"))
    host.docker("run", "--detach", "--name=made", IMAGE)
    host.docker("commit", "--change=LABEL dockercni.networks=wan", "made", "labelled-image")
    host.docker("run", "--detach", "--name=web", "--network=none", "labelled-image")
    said = cli("explain", "web").stdout
    assert "label dockercni.networks=wan was dropped: it comes with the image" in said
    assert "gets no network: label dockercni.networks=wan: the image has the same label" in said
    trusting = cli("explain", "web", "--trust-image-labels").stdout
    assert "dropped" not in trusting
    assert "wants wan as eth0: label dockercni.networks=wan" in trusting


class TestStatus:
    """dockercni status"""

    def test_without_a_daemon(self, host: Host, cli: Cli) -> None:
        """No daemon is exit code 1, whatever else is the case; a probe says only that."""
        done = cli("status")
        assert done.returncode == 1
        assert done.stdout.splitlines()[0] == "no daemon runs (/run/dockercni/daemon.lock is not locked)"
        assert done.stdout.splitlines()[-1] == "converged"
        probe = cli("status", "--probe")
        assert (probe.returncode, len(probe.stdout.splitlines())) == (1, 1)

    def test_with_one(self, host: Host, cli: Cli, daemon: Callable[..., Daemon]) -> None:
        """With a daemon and every container attached it is converged, exit code 0."""
        log = daemon()
        run(host, "web")
        assert cli("status", "--wait=20s").returncode == 0
        done = cli("status", "-o", "json")
        assert done.returncode == 0
        found = printed(done)
        assert (found["converged"], found["wanted"], found["attached"], found["attachments"]) == (True, 1, 1, 1)
        assert found["daemon"]["pulse"]["pid"] == log.program.pid
        assert found["daemon"]["pulse"]["connected"]
        probe = cli("status", "--probe")
        assert (probe.returncode, f"process {log.program.pid}" in probe.stdout) == (0, True)

    def test_a_probe_asks_no_engine(self, host: Host, cli: Cli, daemon: Callable[..., Daemon]) -> None:
        """The daemon is well while the engine is away, and says why it is not connected."""
        daemon()
        host.stop_engine()
        assert cli("status", "--probe").returncode == 0
        host.wait_until(lambda: json.loads(host.read("/run/dockercni/status.json"))["lost"], 10, "the loss")
        done = cli("status")
        assert done.returncode == 75
        assert "no Docker Engine answers" in done.stdout

    def test_a_killed_daemon_is_no_daemon(self, host: Host, cli: Cli, daemon: Callable[..., Daemon]) -> None:
        """A heartbeat that is left behind says nothing without the lock."""
        log = daemon()
        host.wait_until(lambda: host.path("/run/dockercni/status.json").exists(), 10, "the heartbeat")
        log.kill()
        assert host.path("/run/dockercni/status.json").exists()
        assert cli("status", "--probe").returncode == 1

    def test_a_stale_heartbeat_is_a_daemon_that_hangs(
        self, host: Host, cli: Cli, daemon: Callable[..., Daemon]
    ) -> None:
        """A daemon that holds the lock and does not beat is not well."""
        log = daemon()
        pulse = json.loads(host.read("/run/dockercni/status.json"))
        log.program.process.send_signal(19)
        host.write("/run/dockercni/status.json", json.dumps({**pulse, "beat": pulse["beat"] - 60}))
        done = cli("status", "--probe")
        assert (done.returncode, done.stdout.startswith("the daemon hangs: ")) == (1, True)
        host.path("/run/dockercni/status.json").unlink()
        assert cli("status", "--probe").returncode == 1

    def test_failing_and_pending(self, host: Host, cli: Cli, daemon: Callable[..., Daemon]) -> None:
        """What fails stands there with its reason, what is only not done yet is pending; --wait gives up in time."""
        run(host, "later")
        pending = cli("status")
        assert "pending: ADD later dockercni eth0: container started" in pending.stdout
        log = daemon("--attach-running")
        log.wait_event("ADD", container="later")
        run(host, "wrong", "--label=dockercni.ip=nonsense")
        run(host, "taken", "--label=dockercni.ip=10.22.0.1")
        log.wait_event("ADD failed", container="taken")
        done = cli("status")
        assert done.returncode == 3
        assert 'failing: wrong: label dockercni.ip=nonsense: "nonsense" is not an IP address' in done.stdout
        assert "failing: ADD taken dockercni eth0: " in done.stdout
        assert done.stdout.splitlines()[-1] == "not converged"
        assert cli("status", "--wait=300ms").returncode == 1

    def test_what_is_not_ours(self, host: Host, cli: Cli, daemon: Callable[..., Daemon]) -> None:
        """Entries that are broken, newer, or another runtime's are named, and stay as they are."""
        results = "/var/lib/cni/results"
        theirs = {"kind": "cniCacheV1", "containerId": "pod", "config": "e30=", "ifName": "eth0", "networkName": "k8s"}
        newer = {**theirs, "containerId": "next", "dockercni": {"schema": 99, "served": [], "done": 0, "owner": {}}}
        files = {
            "k8s-pod-eth0": json.dumps(theirs),
            "k8s-next-eth0": json.dumps(newer),
            "k8s-half-eth0": '{"kind": "cn',
        }
        for name, text in files.items():
            host.write(f"{results}/{name}", text)
        daemon()
        run(host, "web")
        cli("status", "--wait=20s", check=True)
        done = cli("status")
        assert done.returncode == 0
        for words in ("pod-eth0: created by another runtime", "next-eth0 is", "half-eth0 is not a cache entry"):
            assert f"not ours: {results}/k8s-{words}" in done.stdout
        assert "was written by a newer version" in done.stdout
        host.docker("rm", "--force", "web")
        cli("sync", check=True)
        assert {name: host.read(f"{results}/{name}") for name in files} == files


def test_init_writes_a_network_that_serves(host: Host, cli: Cli) -> None:
    """The file is valid, becomes the default, and is not written over."""
    done = cli("networks", "init", "--subnet=10.9.0.0/24", check=True)
    path = f"{NET}/10-dockercni.conflist"
    assert done.stdout == f"{path}: network dockercni with 10.9.0.0/24\n"
    assert [one.name for one in host.path(NET).iterdir()] == ["10-dockercni.conflist"]
    assert cli("networks", "validate", path).returncode == 0
    before = host.read(path)
    again = cli("networks", "init")
    assert (again.returncode, again.stderr) == (1, f"dockercni: {path} exists; --force overwrites it\n")
    assert host.read(path) == before
    run(host, "web")
    cli("sync", check=True)
    assert printed(cli("ps", "-o", "json"))["attachments"][0]["addresses"] == ["10.9.0.2/24"]
    assert cli("networks", "init", "--force", "--subnet=10.8.0.0/24").returncode == 0
    assert "10.8.0.0/24" in host.read(path)
    second = cli("networks", "init", "--name=lan")
    assert second.returncode == 0
    bridge = json.loads(host.read(f"{NET}/10-lan.conflist"))["plugins"][0]
    assert bridge["bridge"] == "lan0"


def test_init_keeps_clear_of_everything(host: Host, cli: Cli) -> None:
    """Subnets of Docker's networks, routes of any table, other files and links are not chosen; containers of the
    built-in network keep it as their default."""
    host.docker("network", "create", "--subnet=10.122.0.0/16", "theirs")
    host.run("ip", "route", "add", "10.222.7.0/24", "dev", "lo", "table", "52")
    host.run("ip", "link", "add", "wan0", "type", "bridge")
    try:
        run(host, "web")
        cli("sync", check=True)  # the built-in network takes 10.22.0.0/16
        for name in ("lan", "wan"):
            cli("networks", "init", f"--name={name}", check=True)
        first = [json.loads(host.read(f"{NET}/10-{name}.conflist"))["plugins"][0] for name in ("lan", "wan")]
        subnets = [one["ipam"]["ranges"][0][0]["subnet"] for one in first]
        assert not {"10.22.0.0/16", "10.122.0.0/16", "10.222.0.0/16"} & set(subnets)
        assert len(set(subnets)) == 2
        assert first[1]["bridge"] != "wan0"
        assert [one["name"] for one in printed(cli("networks", "-o", "json"))["networks"] if one["default"]] == [
            "dockercni"
        ]
        refused = cli("networks", "init", "--name=san", "--subnet=10.122.4.0/24")
        assert (refused.returncode, "Docker's network theirs" in refused.stderr) == (2, True)
    finally:
        host.run("ip", "link", "delete", "wan0")
        host.run("ip", "route", "flush", "table", "52")
        host.docker("network", "rm", "theirs")


@pytest.mark.parametrize("flag", ["--subnet=10.9.0.0", "--subnet=10.9.0.1/24", "--subnet=x", "--name=a/b", "--name=."])
def test_init_refuses_nonsense(host: Host, cli: Cli, flag: str) -> None:
    """A name or subnet that cannot be is usage, and nothing is written."""
    done = cli("networks", "init", flag)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert list(host.path(NET).iterdir()) == []


class TestDoctor:
    """dockercni doctor"""

    def test_a_sound_host(self, host: Host, cli: Cli, daemon: Callable[..., Daemon]) -> None:
        """With engine, plugins, rights and rules in place nothing fails, and nothing was changed."""
        daemon()
        before = (host.run("iptables-save").stdout.count("\n"), sorted(host.path("/var/lib/dockercni").iterdir()))
        done = cli("doctor", "-o", "json")
        findings = printed(done)["findings"]
        failed = [one for one in findings if one["level"] == "fail"]
        assert failed == []
        assert done.returncode == 0
        subjects = {one["subject"] for one in findings}
        assert {
            "engine",
            "daemon",
            "rights",
            "forwarding",
            "iptables",
            "nft",
            "FORWARD",
            "plugins",
            "early watch",
        } <= subjects
        assert all(one["mend"] for one in findings if one["level"] != "ok")
        after = (host.run("iptables-save").stdout.count("\n"), sorted(host.path("/var/lib/dockercni").iterdir()))
        assert after == before

    def test_what_fails(self, host: Host, cli: Cli) -> None:
        """Collisions, missing plugins, broken files and a missing engine fail, each with what mends it."""
        host.docker("network", "create", "--subnet=10.3.0.0/16", "docks")
        host.write(f"{NET}/10-lan.conflist", network("lan", "10.1.0.0/24"))
        host.write(f"{NET}/20-wan.conflist", network("wan", "10.1.0.0/16", bridge="lan0"))
        host.write(f"{NET}/30-docks.conflist", network("mine", "10.3.1.0/24"))
        host.write(f"{NET}/40-none.conflist", json.dumps({"name": "none", "plugins": [{"type": "brigde"}]}))
        host.write(f"{NET}/50-new.conflist", network("new", "10.5.0.0/24", "1.1.0"))
        host.write(f"{NET}/60-broken.conflist", "{ // comment\n}")
        host.write("/var/lib/cni/results/half", "{")
        done = cli("doctor", "--default-network=nobody")
        host.docker("network", "rm", "docks")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        for words in (
            "subnet 10.1.0.0/24 of network lan overlaps 10.1.0.0/16 of network wan",
            "networks lan and wan share the bridge lan0",
            "subnet 10.3.1.0/24 of network mine overlaps Docker's network docks",
            'plugin "brigde" not found; searched /opt/cni/bin',
            "60-broken.conflist:1:3: expecting property name enclosed in double quotes (JSON has no comments)",
            'default-network is "nobody", which no file describes',
            "results/half is not a cache entry",
            "no daemon runs",
        ):
            assert words in done.stdout, words

    def test_without_an_engine(self, host: Host, cli: Cli) -> None:
        """An engine that is away fails, and all the rest is looked at nevertheless."""
        done = cli("doctor", "--docker-host=unix:///run/nobody.sock")
        assert done.returncode == 1
        assert (
            "fail  engine: no Docker Engine answers at unix:///run/nobody.sock: there is no such socket" in done.stdout
        )
        assert "ok    rights: " in done.stdout


def test_forward_policy_without_docker_user(host: Host, cli: Cli, daemon: Callable[..., Daemon]) -> None:
    """Doctor looks at both IP versions, names what our chain lacks and tables that drop, and what mends it."""
    running = daemon()
    host.docker("run", "--detach", "--name=web", "--network=none", IMAGE)
    running.wait_event("ADD", container="web")
    running.kill()
    host.run("ip6tables", "-P", "FORWARD", "DROP")
    host.run(
        "nft", "add table inet mine; add chain inet mine passing { type filter hook forward priority 5; policy drop; }"
    )
    try:
        done = cli("doctor", check=True)
        assert (
            "ip6tables-nft: the policy is DROP, and DOCKERCNI-FORWARD lets attached containers through" in done.stdout
        )
        assert "warn  FORWARD: chain passing of the nftables table inet mine drops what" in done.stdout
        host.run("ip6tables", "-F", "FORWARD")
        done = cli("doctor")
        assert done.returncode == 1
        assert "fail  FORWARD: ip6tables-nft: chain DOCKERCNI-FORWARD, or its place in FORWARD, differs" in done.stdout
        assert "fix: dockercni sync" in done.stdout
        assert cli("status").returncode == 1
        assert "drift: ip6tables-nft: chain DOCKERCNI-FORWARD" in cli("status").stdout
        assert cli("sync", "--dry-run").returncode == 3
        assert "REPAIR ip6tables-nft: chain DOCKERCNI-FORWARD" in cli("sync", check=True).stdout
        cli("doctor", check=True)
    finally:
        host.run("ip6tables", "-P", "FORWARD", "ACCEPT")
        host.run("nft", "delete table inet mine")
