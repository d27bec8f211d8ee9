"""dockercni networks validate: what is said of a file, without root and without an engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dockercni import settings
from dockercni.cli import main
from dockercni.commands.validation import schemas


@pytest.fixture(autouse=True)
def _bare_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings, "DEFAULT_FILE", tmp_path / "default.toml")
    monkeypatch.setenv("DOCKERCNI_BACKEND", "exec")


IPAM = {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]]}


def test_plugins_of_this_process_need_no_executable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where dockercni serves a plugin itself, that it does is said, and no executable is missed."""
    monkeypatch.setenv("DOCKERCNI_BACKEND", "auto")
    file = write(tmp_path / "a.conflist", "bridge", ipam=IPAM)
    assert main(["networks", "validate", str(file), f"--cni-bin-dir={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert out.count("in dockercni itself") == 2
    file = write(tmp_path / "b.conflist", "bridge", "macvlan", ipam={"type": "dhcp"})
    assert main(["networks", "validate", str(file), f"--cni-bin-dir={tmp_path}"]) == 1
    assert 'plugin "macvlan" not found' in capsys.readouterr().out


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """A directory with plugins that know VERSION only: `bridge` and `host-local` up to 1.0.0, `odd` says nothing."""
    directory = tmp_path / "bin"
    directory.mkdir()
    answer = json.dumps({"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"]})
    for name, body in {
        "bridge": f"[ $CNI_COMMAND = VERSION ] && echo '{answer}'",
        "host-local": f"echo '{answer}'",
        "odd": "echo nothing",
        "empty": "echo '{}'",
        "bad": "echo trouble >&2; exit 1",
    }.items():
        (directory / name).write_text(f"#!/bin/sh\n{body}\n")
        (directory / name).chmod(0o755)
    return directory


def write(path: Path, *types: str, version: str = "1.0.0", name: str = "lan", **more: object) -> Path:
    chain = [{"type": kind, **more} for kind in types]
    path.write_text(json.dumps({"cniVersion": version, "name": name, "plugins": chain}, indent=1))
    return path


def test_a_good_file(tmp_path: Path, plugins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line with network, version, plugins with their versions, IPAM included, and capabilities."""
    file = write(tmp_path / "a.conflist", "bridge", ipam=IPAM, capabilities={"ips": True, "mac": False})
    assert main(["networks", "validate", str(file), f"--cni-bin-dir={plugins}"]) == 0
    spoken = [f"{kind} (0.4.0 to 1.0.0, {plugins / kind})" for kind in ("bridge", "host-local")]
    expected = f"plugins {', '.join(spoken)}, capabilities ips"
    assert capsys.readouterr().out == f"{file}: network lan, CNI 1.0.0, {expected}\n"
    assert main(["networks", "validate", str(file), f"--cni-bin-dir={plugins}", "-o", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["problems"] == []
    assert printed["networks"][0]["plugins"]["bridge"] == {
        "path": str(plugins / "bridge"),
        "versions": ["0.4.0", "1.0.0"],
    }


PROBLEMS = [
    (
        {"types": ("bridge",), "version": "1.1.0"},
        ":2:2: cniVersion: plugin bridge (",
        "supports CNI 0.4.0 to 1.0.0, not 1.1.0",
    ),
    ({"types": ("brigde",)}, ":6:4: type: ", 'plugin "brigde" not found; searched '),
    ({"types": ("odd",)}, ":6:4: type: ", "printed no valid list of versions"),
    ({"types": ("empty",)}, ":6:4: type: ", "printed no valid list of versions: cniVersion: missing"),
    ({"types": ("bad",)}, ":6:4: type: ", "trouble"),
    ({"types": ("bridge",), "ipam": {"type": "nowhere"}}, ":8:5: type: ", 'plugin "nowhere" not found'),
    (
        {"types": ("bridge",), "capabilities": {"portMapping": True}},
        ":8:5: portMapping: ",
        "unknown capability portMapping; did you mean portMappings?",
    ),
]


@pytest.mark.parametrize(("file", "place", "words"), PROBLEMS, ids=[row[2][:30] for row in PROBLEMS])
def test_each_problem_is_a_line_with_its_place(
    tmp_path: Path, plugins: Path, capsys: pytest.CaptureFixture[str], file: dict[str, object], place: str, words: str
) -> None:
    """File, line, column and key, then what is wrong; exit code 1."""
    types = file.pop("types")
    assert isinstance(types, tuple)
    path = write(tmp_path / "a.conflist", *types, **file)  # type: ignore[arg-type]
    assert main(["networks", "validate", str(path), f"--cni-bin-dir={plugins}"]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"{path}{place}")
    assert words in out
    assert len(out.splitlines()) == 1


def test_an_unknown_capability_that_is_like_no_other_may_be_a_plugins_own(tmp_path: Path, plugins: Path) -> None:
    """Only what is nearly one that everybody knows is taken for a mistake."""
    file = write(tmp_path / "a.conflist", "bridge", capabilities={"com.example.quux": True})
    assert main(["networks", "validate", str(file), f"--cni-bin-dir={plugins}"]) == 0


def test_one_bad_file_does_not_hide_the_others(
    tmp_path: Path, plugins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every file is looked at; one that is missing, broken or doubles a name is a problem of its own."""
    good = write(tmp_path / "a.conflist", "bridge")
    twin = write(tmp_path / "b.conflist", "bridge")
    broken = tmp_path / "c.conflist"
    broken.write_text('{\n "name": "x" // why\n}')
    files = [str(broken), str(good), str(twin), str(tmp_path / "none.conflist")]
    assert main(["networks", "validate", *files, f"--cni-bin-dir={plugins}"]) == 1
    first, *problems = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{good}: network lan")
    assert problems == [
        f"{broken}:2:14: expecting ',' delimiter (JSON has no comments)",
        f'{twin}:3:2: name: network "lan" is already defined by {good}',
        f"{tmp_path / 'none.conflist'}: cannot be read: No such file or directory",
    ]


def test_the_same_file_twice_is_one(tmp_path: Path, plugins: Path) -> None:
    """A file does not collide with itself."""
    file = write(tmp_path / "a.conflist", "bridge")
    assert main(["networks", "validate", str(file), str(file), f"--cni-bin-dir={plugins}"]) == 0


def lease(**more: object) -> dict[str, object]:
    """host-local with one range of 10.1.0.0/24."""
    return {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24", **more}]]}


STATIC = {"type": "static", "addresses": [{"address": "10.1.0.2/24"}]}
WRONG = [
    # what the plugins' own parsers refuse
    ({"type": "bridge", "ipam": lease(rangeStart="10.2.0.5")}, "rangeStart", "RangeStart 10.2.0.5 not in network"),
    ({"type": "bridge", "ipam": lease(rangeEnd="fd00::1")}, "rangeEnd", "RangeEnd fd00::1 not in network"),
    ({"type": "bridge", "ipam": lease(rangeStart="10.1.0.9", rangeEnd="10.1.0.3")}, "rangeStart", "not in network"),
    ({"type": "bridge", "ipam": lease(subnet="10.1.0.0/31")}, "subnet", "10.1.0.0/31 too small"),
    ({"type": "bridge", "ipam": lease(subnet="fd00::/127")}, "subnet", "fd00::/127 too small"),
    ({"type": "bridge", "ipam": lease(subnet="10.1.0.7/24")}, "subnet", "host bits set"),
    ({"type": "bridge", "ipam": lease(gateway="x")}, "gateway", '"x" is not an address'),
    ({"type": "bridge", "ipam": {"type": "host-local"}}, "type", "no IP ranges specified"),
    (
        {"type": "bridge", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}] * 2]}},
        "subnet",
        "overlap",
    ),
    (
        {"type": "bridge", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]] * 2}},
        "type",
        "range set 0 overlaps with 1",
    ),
    ({"type": "bridge", "ipam": {**lease(), "resolvConf": "/none/such"}}, "resolvConf", "No such file"),
    ({"type": "bridge", "ipam": {**STATIC, "addresses": [{"address": "10.1.0.2"}]}}, "address", "CIDR notation"),
    ({"type": "bridge", "mtu": "1500"}, "mtu", "must be a 64-bit integer"),
    ({"type": "bridge", "vlan": 5000}, "vlan", "invalid VLAN ID 5000"),
    ({"type": "bridge", "hairpinMode": True, "promiscMode": True}, "hairpinMode", "at the same time"),
    ({"type": "firewall", "ingressPolicy": "shut"}, "ingressPolicy", 'unknown ingress policy: "shut"'),
    ({"type": "tuning", "sysctl": {"kernel/panic": "1"}}, "kernel/panic", "invalid net sysctl key"),
    ({"type": "tuning", "mac": "x"}, "mac", "invalid args x for MAC"),
    ({"type": "portmap", "snat": "no"}, "snat", "must be true or false"),
    # what they accept, and nobody could use
    ({"type": "bridge", "ipam": lease(gateway="10.2.0.1")}, "gateway", "not in the subnet 10.1.0.0/24"),
    ({"type": "bridge", "ipam": lease(gateway="10.1.0.0")}, "gateway", "the address of the network"),
    ({"type": "bridge", "ipam": lease(gateway="10.1.0.255")}, "gateway", "the broadcast address"),
    ({"type": "bridge", "ipam": lease(rangeStart="10.1.0.1", rangeEnd="10.1.0.1")}, "rangeStart", "no address besides"),
    (
        {"type": "bridge", "ipam": {**STATIC, "addresses": [{"address": "fd00::2/64", "gateway": "fd01::1"}]}},
        "gateway",
        "not in the subnet fd00::/64",
    ),
    # keys
    ({"type": "bridge", "isGatewy": True}, "isGatewy", "unknown key of plugin bridge; did you mean isGateway?"),
    ({"type": "bridge", "ipam": {**lease(), "route": []}}, "route", "plugin host-local; did you mean routes?"),
    ({"type": "bridge", "ipam": lease(rangestrt="10.1.0.9")}, "rangestrt", "did you mean rangeStart?"),
    ({"type": "macvlan", "master": "lo", "mod": "l2"}, "mod", "unknown key of plugin macvlan; did you mean mode?"),
    ({"type": "bridge", "dns": {"nameserver": []}}, "nameserver", "did you mean nameservers?"),
    # what the host lacks
    ({"type": "bridge", "bridge": "a" * 16}, "bridge", "at most 15 bytes"),
    ({"type": "bridge", "bridge": "ä" * 8}, "bridge", "at most 15 bytes"),
    ({"type": "bridge", "bridge": "a b"}, "bridge", "cannot be the name of a link"),
    ({"type": "bridge", "bridge": ".."}, "bridge", "cannot be the name of a link"),
    ({"type": "bridge", "bridge": ""}, "bridge", "cannot be the name of a link"),
    ({"type": "bridge", "bridge": "lo"}, "bridge", "is not a bridge"),
    ({"type": "macvlan", "master": "none9"}, "master", "this host has no link none9"),
    ({"type": "ipvlan", "master": "none9"}, "master", "this host has no link none9"),
    ({"type": "vlan", "master": "none9", "vlanId": 5}, "master", "this host has no link none9"),
    ({"type": "host-device", "device": "none9"}, "device", "this host has no link none9"),
    ({"type": "macvlan", "master": "lo", "mtu": 65536}, "mtu", "must be from 68 to 65535"),
    ({"type": "bridge", "mtu": 1000, "ipam": lease(subnet="fd00::/64")}, "mtu", "must be from 1280"),
    ({"type": "bridge", "ipam": {"type": "dhcp", "daemonSocketPath": "/none/such"}}, "type", "no /none/such: the DHCP"),
    ({"type": "bridge", "ipam": {"type": "dhcp", "daemonSocketPath": "/etc"}}, "type", "/etc is no socket"),
    # what executables alone serve
    ({"type": "macvlan", "master": "lo", "mode": "l2"}, "mode", '"l2" is not one of bridge, private'),
    ({"type": "vlan", "master": "lo", "vlanId": 5000}, "vlanId", "from 0 to 4094"),
    ({"type": "host-device"}, "type", "one of device, hwaddr"),
    ({"type": "ptp"}, "type", "ptp needs ipam"),
    ({"type": "bandwidth", "ingressRate": 5}, "ingressRate", "belong together"),
]


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """A directory in which every plugin is, and speaks every version."""
    directory = tmp_path / "all"
    directory.mkdir()
    for name in [*schemas.PLUGINS, *schemas.IPAM]:
        (directory / name).write_text('#!/bin/sh\necho \'{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}\'\n')
        (directory / name).chmod(0o755)
    return directory


@pytest.mark.parametrize("single", [False, True], ids=["list", "single"])
@pytest.mark.parametrize(("plugin", "key", "words"), WRONG, ids=[row[2][:40] for row in WRONG])
def test_what_cannot_work_is_said(
    tmp_path: Path,
    everything: Path,
    capsys: pytest.CaptureFixture[str],
    plugin: dict[str, object],
    key: str,
    words: str,
    single: bool,
) -> None:
    """The plugin's own parser reads the configuration, then it is compared with itself and with the host: a line each,
    with the place of the key; exit code 1."""
    first = (
        [] if single or plugin["type"] not in {"firewall", "tuning", "portmap", "bandwidth"} else [{"type": "dummy"}]
    )
    network: dict[str, object] = {"cniVersion": "1.0.0", "name": "lan", "plugins": [*first, plugin]}
    path = tmp_path / ("a.conf" if single else "a.conflist")
    path.write_text(json.dumps({"cniVersion": "1.0.0", "name": "lan", **plugin} if single else network, indent=1))
    assert main(["networks", "validate", str(path), f"--cni-bin-dir={everything}"]) == 1
    said = [line for line in capsys.readouterr().out.splitlines() if "cannot be the first" not in line]
    assert len(said) == 1
    assert words in said[0]
    line, column, name = [*said[0].removeprefix(f"{path}:").split(": ")[0].split(":"), said[0].split(": ")[1]]
    assert path.read_text().splitlines()[int(line) - 1][int(column) :].startswith(key)
    assert name == key


def test_comments_and_keys_of_others_are_no_mistakes(tmp_path: Path, everything: Path) -> None:
    """A key with a prefix that says whose it is, or that it is a comment, is nobody's business."""
    file = write(tmp_path / "a.conflist", "bridge", ipam=IPAM, **{"_why": "x", "com.example/y": 1, "//": "z"})
    assert main(["networks", "validate", str(file), f"--cni-bin-dir={everything}"]) == 0


def test_keys_of_the_list(tmp_path: Path, everything: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key of the list that is nearly one that counts is a mistake."""
    file = tmp_path / "a.conflist"
    file.write_text('{"cniVersion": "1.0.0", "name": "lan", "disableChek": true,\n "plugins": [{"type": "bridge"}]}')
    assert main(["networks", "validate", str(file), f"--cni-bin-dir={everything}"]) == 1
    assert (
        capsys.readouterr().out == f"{file}:1:40: disableChek: unknown key of a network; did you mean disableCheck?\n"
    )
