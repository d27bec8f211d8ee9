"""Which networks there are, which one is the default, and which subnet the built-in one takes."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

import pytest

from dockercni.errors import UnknownNetwork
from dockercni.reconcile import networks
from dockercni.reconcile.networks import SUBNETS, Networks, NetworkUnavailable, free_subnet

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch) -> list[IPv4Network]:
    """The routes that the host is said to have."""
    found: list[IPv4Network] = []
    monkeypatch.setattr(networks.host_links, "used_subnets", lambda besides: found)
    return found


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """An empty configuration directory."""
    directory = tmp_path / "net.d"
    directory.mkdir()
    return directory


def write(conf: Path, name: str, file: str) -> None:
    """A network of one plugin."""
    (conf / file).write_text(json.dumps({"cniVersion": "1.0.0", "name": name, "plugins": [{"type": "bridge"}]}))


@pytest.mark.parametrize(
    ("routed", "chosen"),
    [
        ([], 0),
        (["192.168.0.0/16"], 0),
        (["10.22.5.0/24"], 1),
        (["10.22.0.0/15"], 1),
        (["10.0.0.0/8"], 3),
        (["10.22.0.1/32", "10.122.0.0/16"], 2),
    ],
)
def test_free_subnet(routed: list[str], chosen: int) -> None:
    """The first subnet that no route overlaps, in either direction, is taken."""
    assert free_subnet(map(IPv4Network, routed)) == SUBNETS[chosen]


def test_no_free_subnet(conf: Path, tmp_path: Path, routes: list[IPv4Network]) -> None:
    """Where routes overlap all of them there is no default network, and the error says what to do."""
    routes += [IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12")]
    with pytest.raises(NetworkUnavailable, match="configure a network of your own") as caught:
        Networks(conf, tmp_path / "state").catalogue().get("")
    assert caught.value.retry


def test_built_in(conf: Path, tmp_path: Path, routes: list[IPv4Network]) -> None:
    """The built-in network serves where there is no file, has the documented shape, and keeps its subnet."""
    found = Networks(conf, tmp_path / "state").catalogue().get("")
    assert (found.name, found.cni_version) == ("dockercni", "1.0.0")
    assert [plugin.type for plugin in found.plugins] == ["bridge", "portmap", "firewall"]
    assert {"ips", "mac", "portMappings"} <= found.capabilities
    bridge = found.plugins[0].raw
    assert bridge["ipam"]["ranges"] == [[{"subnet": SUBNETS[0]}]]
    assert all(bridge[key] is True for key in ("isGateway", "ipMasq", "hairpinMode"))
    routes.append(IPv4Network("10.22.0.0/24"))
    again = Networks(conf, tmp_path / "state").catalogue().get("dockercni")
    assert again.plugins[0].raw["ipam"]["ranges"] == [[{"subnet": SUBNETS[0]}]]


def test_files_replace_the_built_in(conf: Path, tmp_path: Path, routes: list[IPv4Network]) -> None:
    """With any file there, even a broken one, the built-in network does not serve, and nothing is chosen."""
    (conf / "a.conflist").write_text("{")
    catalogue = Networks(conf, tmp_path / "state").catalogue()
    with pytest.raises(NetworkUnavailable, match=r"a\.conflist:1:2"):
        catalogue.get("")
    with pytest.raises(UnknownNetwork, match=r'no network "dockercni" \(known: none; .*a\.conflist'):
        catalogue.get("dockercni")
    assert not (tmp_path / "state").exists()


def test_default(conf: Path, tmp_path: Path, routes: list[IPv4Network]) -> None:
    """The default is the setting's network, else that of the first file by plain name."""
    write(conf, "b", "20.conflist")
    write(conf, "a", "10.conflist")
    assert Networks(conf, tmp_path).catalogue().get("").name == "a"
    assert Networks(conf, tmp_path, "b").catalogue().get("").name == "b"
    with pytest.raises(UnknownNetwork, match=r'no network "c" \(known: a, b\)'):
        Networks(conf, tmp_path, "c").catalogue().get("")


def test_change_is_noticed(conf: Path, tmp_path: Path, routes: list[IPv4Network]) -> None:
    """The directory is read again when a file of it, or of one below it, has changed, and not otherwise."""
    found = Networks(conf, tmp_path / "state")
    assert found.catalogue() is found.catalogue()
    assert found.catalogue().get("").name == "dockercni"
    write(conf, "a", "10.conflist")
    assert found.catalogue().get("").name == "a"
    (conf / "a").mkdir()
    (conf / "a" / "more.conf").write_text('{"type": "tuning"}')
    assert [plugin.type for plugin in found.catalogue().get("a").plugins] == ["bridge", "tuning"]
    (conf / "10.conflist").unlink()
    (conf / "a" / "more.conf").unlink()
    assert found.catalogue().get("").name == "dockercni"
