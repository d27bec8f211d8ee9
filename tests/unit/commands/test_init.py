"""dockercni networks init, where no engine answers and nobody is root."""

from __future__ import annotations

import contextlib
import json
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest

from dockercni import settings
from dockercni.cli import main
from dockercni.linux import host_links
from dockercni.reconcile import occupied
from dockercni.reconcile.networks import Networks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Init = Callable[..., int]


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """The configuration directory."""
    directory = tmp_path / "net.d"
    directory.mkdir()
    return directory


@pytest.fixture
def init(tmp_path: Path, conf: Path, monkeypatch: pytest.MonkeyPatch) -> Init:
    """Run `networks init` with all directories of its own, on a host with one route."""
    monkeypatch.setattr(settings, "DEFAULT_FILE", tmp_path / "default.toml")
    monkeypatch.setattr(occupied, "DAEMON_JSON", tmp_path / "daemon.json")
    monkeypatch.setattr(host_links, "used_subnets", lambda besides=(): [ip_network("10.22.9.0/24")])
    monkeypatch.setattr(host_links, "names", lambda: {"eth0", "lan0"})
    places = [f"--state-dir={tmp_path}/state", f"--cni-cache-dir={tmp_path}/cache", f"--cni-conf-dir={conf}"]

    def call(*arguments: str) -> int:
        return main(["networks", "init", *arguments, *places, f"--docker-host=unix://{tmp_path}/none"])

    return call


def written(conf: Path) -> dict[str, Any]:
    """The files by network name: file name, bridge, subnets."""
    found = {}
    for path in sorted(conf.iterdir()):
        network = json.loads(path.read_text())
        bridge = network["plugins"][0]
        subnets = [one["subnet"] for (one,) in bridge["ipam"]["ranges"]]
        found[network["name"]] = (path.name, bridge["bridge"], *subnets)
    return found


def test_three_in_a_row(init: Init, conf: Path) -> None:
    """Each gets a subnet and a bridge of its own, free of the host's routes and links; the first is the default."""
    assert [init(f"--name={name}") for name in ("lan", "production-frontend", "production-frontoffice")] == [0, 0, 0]
    found = written(conf)
    subnets = [ip_network(each[2]) for each in found.values()]
    assert not any(one.overlaps(other) for one in subnets for other in subnets if one is not other)
    assert not any(subnet.overlaps(ip_network("10.22.9.0/24")) for subnet in subnets)
    assert len({each[1] for each in found.values()} | {"lan0"}) == 4
    assert Networks(conf, conf).catalogue().get("").name == "lan"


@pytest.mark.parametrize("file", ["zzz.conflist", "10-zzz.conflist", "00-zzz.conf", "99-broken.conflist"])
def test_a_new_network_is_not_the_default(init: Init, conf: Path, tmp_path: Path, file: str) -> None:
    """Whatever the first file is called, it stays the first and the default; --default makes the new one both."""
    there = conf / file
    there.write_text("{" if "broken" in file else '{"cniVersion": "1.0.0", "name": "zzz", "type": "bridge"}')
    if file.endswith(".conflist") and "broken" not in file:
        there.write_text('{"cniVersion": "1.0.0", "name": "zzz", "plugins": [{"type": "bridge"}]}')
    assert init("--name=aaa") == 0
    assert min(path.name for path in conf.iterdir()) == file
    there.rename(conf / "zzzz.conflist" if file.endswith("list") else conf / "zzzz.conf")
    assert "aaa" not in {found.name for found in [Networks(conf, tmp_path).catalogue().built_in] if found}
    with pytest.raises(Exception, match="zzzz") if "broken" in file else contextlib.nullcontext():
        assert Networks(conf, tmp_path).catalogue().get("").name == "zzz"
    assert init("--name=bbb", "--default") == 0
    assert Networks(conf, tmp_path).catalogue().get("").name == "bbb"


def test_force_changes_neither_file_nor_default(init: Init, conf: Path) -> None:
    """What is written over keeps its file, its bridge, and whether it is the default."""
    for name in ("lan", "storage"):
        assert init(f"--name={name}") == 0
    before = written(conf)
    assert init("--name=lan", "--force", "--subnet=10.9.0.0/24") == 0
    assert init("--name=storage", "--force", "--subnet=10.8.0.0/24") == 0
    after = written(conf)
    assert {name: each[:1] for name, each in after.items()} == {name: each[:1] for name, each in before.items()}
    assert (after["lan"][2], after["storage"][1:]) == ("10.9.0.0/24", (before["storage"][1], "10.8.0.0/24"))
    assert Networks(conf, conf).catalogue().get("").name == "lan"


def test_the_engines_settings_count_while_it_does_not_answer(init: Init, conf: Path, tmp_path: Path) -> None:
    """Subnets that the engine may come to use are kept away from: those of daemon.json, else its own defaults."""
    (tmp_path / "daemon.json").write_text(
        '{"bip": "10.122.0.1/16", "default-address-pools": [{"base": "10.222.0.0/15"}]}'
    )
    assert init("--name=lan") == 0
    assert written(conf)["lan"][2] == "172.30.0.0/16"
    (tmp_path / "daemon.json").write_text("{")
    for path in conf.iterdir():
        path.unlink()
    assert [init("--name=lan"), init("--name=wan"), init("--name=san")] == [0, 0, 0]
    assert written(conf)["san"][2] == "10.100.0.0/16"


def test_dual_stack(init: Init, conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--subnet twice, once for each family, makes a network of both."""
    assert init("--name=lan", "--subnet=fd00:60::/64", "--subnet=10.60.0.0/24") == 0
    assert written(conf)["lan"][2:] == ("10.60.0.0/24", "fd00:60::/64")
    assert capsys.readouterr().out.endswith(": network lan with 10.60.0.0/24 and fd00:60::/64\n")
    assert init("--name=wan", "--subnet=10.60.0.128/25") == 2
    assert "overlaps 10.60.0.0/24 of network lan" in capsys.readouterr().err
