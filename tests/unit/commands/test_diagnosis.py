"""dockercni doctor: each finding by itself, on hosts that are made up."""

from __future__ import annotations

import contextlib
import json
from ipaddress import IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dockercni import settings
from dockercni.cli import main
from dockercni.cni import NetworkList, parse_list
from dockercni.commands.diagnosis import engine, firewall, host, networks
from dockercni.docker.client import Client
from dockercni.linux import capabilities, cgroups, host_links, iptables
from dockercni.reconcile import claims
from dockercni.reconcile.locks import Locks
from tests.unit.docker.fake import INFO, VERSION, fake_engine


def network(name: str, *ipam: object, bridge: str = "") -> NetworkList:
    chain = [{"type": "bridge", "bridge": bridge or f"{name}0", "ipam": one} for one in ipam]
    return parse_list(json.dumps({"name": name, "cniVersion": "1.0.0", "plugins": chain}).encode())


SUBNETS = [
    ({"type": "host-local", "subnet": "10.1.0.0/16"}, ["10.1.0.0/16"]),
    ({"ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "10.2.0.0/24"}], [{"subnet": "fd00::/64"}]]}, 3),
    ({"subnet": "10.1.0.5/16"}, ["10.1.0.0/16"]),
    ({"subnet": 7, "ranges": [7, [7, {"subnet": "x"}, {}]]}, []),
    ({}, []),
]


@pytest.mark.parametrize(("ipam", "found"), SUBNETS, ids=str)
def test_subnets_are_found_wherever_host_local_looks(ipam: object, found: list[str] | int) -> None:
    """All ranges count, and what cannot be a subnet is left to the plugin to complain about."""
    subnets = [str(one) for one in claims.subnets(network("lan", ipam))]
    assert subnets == found if isinstance(found, list) else len(subnets) == found


RIGHTS = [
    ("CapEff:\t000001ffffffffff\n", []),
    ("CapEff:\t0000000000000000\n", list(capabilities.NUMBERS)),
    ("CapEff:\t00000000a80425fb\n", ["CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN"]),
    ("", list(capabilities.NUMBERS)),
]


@pytest.mark.parametrize(("status", "missing"), RIGHTS)
def test_missing_capabilities_are_named(status: str, missing: list[str]) -> None:
    """The effective set counts; the third row is what Docker gives a container by default."""
    assert capabilities.missing(status) == missing


RUNTIMES = [
    ("runc", "runc", "ok"),
    ("crun", "/usr/bin/crun", "ok"),
    ("io.containerd.runc.v2", "runc", "ok"),
    ("mine", "", "ok"),
    ("kata-runtime", "", "warn"),
    ("io.containerd.kata.v2", "", "warn"),
    ("vm", "io.containerd.kata.v2", "warn"),
    ("runsc", "/usr/local/bin/runsc", "warn"),
    ("safe", "/usr/bin/runsc", "warn"),
    ("gvisor", "io.containerd.runsc.v1", "warn"),
]


@pytest.mark.parametrize(("name", "program", "level"), RUNTIMES)
def test_default_runtime(name: str, program: str, level: str) -> None:
    """The default runtime is named, and one whose containers are no processes of this kernel is a warning."""
    (finding,) = engine._runtimes(name, {name: program, "runc": "runc"})
    assert (finding.level, name in finding.what) == (level, True)
    assert ("not followed" in finding.what) == (level == "warn")


def test_runtimes_besides() -> None:
    """Runtimes that are not the default and are not followed are named: containers may be run with them."""
    programs = {"runc": "runc", "kata": "io.containerd.kata.v2", "safe": "/usr/bin/runsc", "crun": "/usr/bin/crun"}
    default, besides = engine._runtimes("runc", programs)
    assert (default.level, besides.level) == ("ok", "ok")
    assert "with kata, safe: " in besides.what
    assert list(engine._runtimes("", {})) == []


def test_cgroup_layouts(tmp_path: Path) -> None:
    """Version 2 has its file at the top, a hybrid one level below; an empty directory is no cgroups at all."""
    assert cgroups.layout(tmp_path) == ""
    (tmp_path / "memory").mkdir()
    assert cgroups.layout(tmp_path) == "v1"
    (tmp_path / "unified").mkdir()
    (tmp_path / "unified" / "cgroup.controllers").touch()
    assert cgroups.layout(tmp_path) == "hybrid"
    (tmp_path / "cgroup.controllers").touch()
    assert cgroups.layout(tmp_path) == "v2"


def test_directories(tmp_path: Path) -> None:
    """One that can be written or made is well; a file in its place is not."""
    assert host.directory_finding("x", tmp_path).level == "ok"
    assert host.directory_finding("x", tmp_path / "a" / "b").what == f"{tmp_path / 'a' / 'b'} can be created"
    (tmp_path / "file").touch()
    assert host.directory_finding("x", tmp_path / "file").what == f"{tmp_path / 'file'} is not a directory"


def test_not_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever is not root gets a finding, and exit code 1; commands that act end with 77."""
    monkeypatch.setattr(settings, "DEFAULT_FILE", tmp_path / "default.toml")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["doctor", f"--docker-host=unix://{tmp_path}/none.sock"]) == 1
    out = capsys.readouterr().out
    assert "fail  rights: not root" in out
    assert "fix: sudo dockercni doctor" in out
    for command in (["sync"], ["ps"], ["check"], ["status"], ["status", "--probe"], ["inspect", "x"], ["daemon"]):
        assert main(command) == 77, command
        assert capsys.readouterr().err.endswith("try sudo\n")


@pytest.mark.parametrize(("obstacle", "reported"), [("", []), ("it is forbidden", ["hold"])])
def test_what_a_daemon_could_not_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, obstacle: str, reported: list[str]
) -> None:
    """While no daemon runs, doctor asks what a daemon would ask: whether it may hold starting containers."""
    monkeypatch.setattr(engine.capabilities, "obstacle", lambda: obstacle)
    given = settings.load({"run-dir": str(tmp_path)}, {}, settings.DEFAULT_FILE)
    found = list(engine.findings(given, Client(f"unix://{tmp_path}/none.sock")))
    assert [one.subject for one in found if one.level == "warn"] == ["daemon", *reported]


def test_a_daemon_that_has_written_nothing_yet(tmp_path: Path) -> None:
    """It runs, so its log says why; to start it would do nothing."""
    given = settings.load({"run-dir": str(tmp_path)}, {}, settings.DEFAULT_FILE)
    for locked, fix in ((True, "journalctl -u dockercni"), (False, "systemctl enable --now dockercni")):
        with Locks(tmp_path, 1.0).daemon() if locked else contextlib.nullcontext():
            found = list(engine.findings(given, Client(f"unix://{tmp_path}/none.sock")))
        assert [one.fix for one in found if one.subject == "daemon"] == [fix]


def test_old_names_of_settings(tmp_path: Path) -> None:
    """The next release refuses them, and then the daemon would not start."""
    given = settings.load({}, {"DOCKERCNI_ENGINE": "native"}, settings.DEFAULT_FILE)
    (finding,) = [one for one in host.findings(given) if one.subject == "settings"]
    assert finding.what == "environment DOCKERCNI_ENGINE: engine is the old name of backend"
    assert (finding.level, finding.fix) == ("warn", settings.RENAME)


def _alone(tmp_path: Path) -> tuple[settings.Settings, Client]:
    """Settings and client of a host without an engine."""
    given = {"cni-cache-dir": str(tmp_path)}
    return settings.load(given, {}, settings.DEFAULT_FILE), Client(f"unix://{tmp_path}/none.sock")


def _firewall(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **given: Any) -> list[str]:
    """The findings on a firewall that has what is given, in place of a sound one's."""
    listing = {"FORWARD": given.get("policy", "ACCEPT")}, {key: [] for key in given.get("chains", ())}
    table = SimpleNamespace(command=given.get("command", "iptables"), version=4, listing=lambda: listing)
    chains = [{"chain": {"family": "inet", **chain}} for chain in given.get("nft", ())]
    monkeypatch.setattr(iptables, "flavour", lambda _: given.get("flavour", "nft"))
    monkeypatch.setattr(iptables, "filters", lambda version: [table] if version == 4 else [])
    monkeypatch.setattr(iptables, "legacy_tables", lambda: given.get("legacy", []))
    monkeypatch.setattr(firewall, "which", lambda name: f"/usr/sbin/{name}")
    monkeypatch.setattr(firewall.nft, "available", lambda: True)
    monkeypatch.setattr(firewall.nft, "listing", lambda _: chains)
    monkeypatch.setattr(firewall.firewalld, "runs", lambda: given.get("firewalld", False))
    monkeypatch.setattr(firewall.Forwarding, "problems", lambda _: given.get("problems", []))
    found = list(firewall.findings(*_alone(tmp_path)))
    assert all(one.fix for one in found if one.level != "ok")
    return [f"{one.level} {one.subject}: {one.what}" for one in found if one.level != "ok"]


FORWARD: dict[str, Any] = {"table": "mine", "name": "fwd", "hook": "forward", "policy": "drop"}
FIREWALLS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"policy": "DROP"}, []),
    ({"policy": "DROP", "problems": ["iptables: chain"]}, ["fail FORWARD: iptables: chain"]),
    (
        {"command": "iptables-legacy", "chains": ["DOCKER-USER"]},
        ["warn iptables: Docker keeps DOCKER-USER in the legacy"],
    ),
    ({"legacy": ["filter"]}, ["warn iptables: the legacy flavour has tables as well"]),
    ({"flavour": "legacy", "legacy": ["filter"]}, []),
    ({"nft": [FORWARD]}, ["warn FORWARD: chain fwd of the nftables table inet mine drops"]),
    ({"nft": [{**FORWARD, "policy": "accept"}, {**FORWARD, "hook": "input"}]}, []),
    ({"nft": [{**FORWARD, "table": "filter", "name": "FORWARD", "family": "ip6"}]}, []),
    ({"firewalld": True}, ["warn FORWARD: firewalld runs"]),
]


@pytest.mark.parametrize(("given", "found"), FIREWALLS, ids=str)
def test_firewalls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, Any], found: list[str]) -> None:
    """What our chain lacks fails; two flavours in use, and tables that our accepts do not reach, are warnings; each
    finding comes with what mends it."""
    told = _firewall(monkeypatch, tmp_path, **given)
    assert len(told) == len(found)
    assert all(one.startswith(start) for one, start in zip(told, found, strict=True))


def test_collisions_with_dockers_networks_and_routes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subnet or a bridge that Docker has is a failure; one that the host routes elsewhere is a warning."""
    conf = tmp_path / "net.d"
    conf.mkdir()
    for name, subnet, bridge in (("lan", "172.17.0.0/24", "x0"), ("wan", "10.1.0.0/16", "docker0")):
        found = network(name, {"type": "host-local", "subnet": subnet}, bridge=bridge)
        (conf / f"{name}.conflist").write_bytes(found.raw)
    docker = [
        {
            "Name": "bridge",
            "Driver": "bridge",
            "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]},
            "Options": {"com.docker.network.bridge.name": "docker0"},
        },
        {"Name": "none", "Driver": "null", "IPAM": {"Config": None}},
        {"Name": "odd", "IPAM": {"Config": [{"Subnet": "x"}]}},
    ]
    monkeypatch.setattr(
        host_links, "used_subnets", lambda **_: [IPv4Network("10.1.7.0/24"), IPv4Network("192.0.2.0/24")]
    )
    loaded = settings.load({"cni-conf-dir": str(conf), "cni-bin-dir": str(tmp_path)}, {}, settings.DEFAULT_FILE)
    with fake_engine(tmp_path / "s", {"/version": VERSION, "/info": INFO, "/networks": docker}) as url:
        findings = [one for one in networks.findings(loaded, Client(url)) if one.subject == "collision"]
    assert [(one.level, one.what) for one in findings] == [
        ("fail", "subnet 172.17.0.0/24 of network lan overlaps Docker's network bridge"),
        ("fail", "the bridge docker0 of network wan is that of Docker's network bridge"),
        ("warn", "subnet 10.1.0.0/16 of network wan overlaps the host's route to 10.1.7.0/24"),
    ]
