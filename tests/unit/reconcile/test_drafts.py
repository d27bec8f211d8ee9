"""Configurations that dockercni writes itself: subnets, bridge names, file names, what is claimed already."""

from __future__ import annotations

import json
from ipaddress import ip_network

import pytest

from dockercni.cni import parse_list
from dockercni.errors import UsageError
from dockercni.reconcile import claims, drafts
from dockercni.reconcile.networks import NetworkUnavailable


@pytest.mark.parametrize(
    ("given", "subnets"),
    [
        (["10.60.0.0/16"], ["10.60.0.0/16"]),
        (["fd00:60::/64", "10.60.0.0/24"], ["10.60.0.0/24", "fd00:60::/64"]),
        (["192.168.7.4/30"], ["192.168.7.4/30"]),
        (["fd00::4/126"], ["fd00::4/126"]),
    ],
)
def test_subnets(given: list[str], subnets: list[str]) -> None:
    """One subnet, or one of each family, in which IPv4 comes first."""
    assert list(map(str, drafts.asked(given))) == subnets


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["10.60.0.0"], "prefix length is missing"),
        (["fd00::"], "prefix length is missing"),
        (["10.60.0.1/24"], "has host bits set"),
        (["fd00::1/64"], "has host bits set"),
        (["10.60.0.0/31"], "too small"),
        (["10.60.0.1/32"], "too small"),
        (["fd00::/127"], "too small"),
        (["0.0.0.0/0"], "too large"),
        (["::/0"], "too large"),
        (["224.0.0.0/24"], "not a range"),
        (["127.0.0.0/8"], "not a range"),
        (["fe80::/64"], "not a range"),
        (["::ffff:10.0.0.0/120"], "not a range"),
        (["10.60.0.0/x"], "10.60.0.0/x"),
        (["10.1.0.0/16", "10.2.0.0/16"], "one subnet for each of IPv4 and IPv6"),
        (["fd00::/64", "10.2.0.0/16", "fd01::/64"], "one subnet for each of IPv4 and IPv6"),
    ],
)
def test_subnets_that_cannot_be(given: list[str], words: str) -> None:
    """What is no subnet for containers is an error of one line that names it."""
    with pytest.raises(UsageError, match="--subnet ") as caught:
        drafts.asked(given)
    assert words in str(caught.value)


def test_bridges_are_unique() -> None:
    """Names that begin alike give bridges that differ, each of at most 15 bytes; a name that is taken is not taken."""
    used: set[str] = set()
    for name in ("lan", "production-frontend", "production-frontoffice", "a" * 200, "cni", "docker", "lan"):
        bridge = drafts.bridge_name(name, used)
        assert len(bridge) <= 15
        assert bridge not in used | {"cni0", "docker0"}
        used.add(bridge)
    assert "lan0" in used
    assert drafts.bridge_name("dockercni", set()) == "dockercni0"


@pytest.mark.parametrize(
    ("first", "default", "file"),
    [
        (None, False, "10-aaa.conflist"),
        ("05-zzz.conflist", False, "10-aaa.conflist"),
        ("10-zzz.conflist", False, "20-aaa.conflist"),
        ("99-zzz.conf", False, "99-zzzz-aaa.conflist"),
        ("lan.json", False, "lanz-aaa.conflist"),
        ("10-zzz.conflist", True, "10-aaa.conflist"),
        ("05-a.conflist", True, "01-aaa.conflist"),
    ],
)
def test_file_names(first: str | None, default: bool, file: str) -> None:
    """A new network sorts behind the first file, or before it if it is to be the default."""
    found = drafts.file_name("aaa", first, default=default)
    assert found == file
    assert first is None or (found < first) is default


def test_nothing_stands_before_the_very_first() -> None:
    """Where no name sorts before the first file, that is said."""
    with pytest.raises(UsageError, match="no file can stand before 00-a"):
        drafts.file_name("aaa", "00-a.conflist", default=True)


def test_a_conflist() -> None:
    """Both families have a range and a default route; what is not to be the default says so."""
    subnets = drafts.asked(["10.60.0.0/24", "fd00:60::/64"])
    written = drafts.conflist("lan", subnets, "lan0", default=False)
    network = parse_list(json.dumps(written).encode())
    assert network.name == "lan"
    assert network.extra["dockercni"] == {"default": False}
    first = network.plugins[0].raw
    assert first["ipam"]["ranges"] == [[{"subnet": "10.60.0.0/24"}], [{"subnet": "fd00:60::/64"}]]
    assert first["ipam"]["routes"] == [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    assert "dockercni" not in drafts.conflist("lan", subnets, "lan0", default=True)


def test_claims() -> None:
    """Whatever key an IPAM plugin has for it, a subnet counts as its network's; destinations of routes do not."""
    ipam = {
        "type": "other",
        "range": "10.1.2.0/24",
        "ipRanges": [{"cidr": "fd00::5/64"}],
        "routes": [{"dst": "10.0.0.0/8"}],
    }
    plugins = [{"type": "bridge", "ipam": ipam}, {"type": "x", "addresses": ["10.9.0.7/24"]}]
    network = parse_list(json.dumps({"cniVersion": "1.0.0", "name": "n", "plugins": plugins}).encode())
    assert list(map(str, claims.subnets(network))) == ["10.1.2.0/24", "fd00::/64", "10.9.0.0/24"]
    assert claims.bridges(network) == ["cni0"]
    assert list(map(str, claims.mentioned('{"subnet": "10.4.0.0/16", // why\n'))) == ["10.4.0.0/16"]


def test_a_free_subnet() -> None:
    """The choice goes on where the first places are taken, around a VPN's route to all of 10.0.0.0/8 too."""
    used = [ip_network("10.22.0.0/16"), ip_network("fd00::/8")]
    assert str(drafts.free(used)) == "10.122.0.0/16"
    assert str(drafts.free([ip_network("10.0.0.0/8"), ip_network("172.16.0.0/12")])) == "192.168.255.0/24"
    with pytest.raises(NetworkUnavailable):
        drafts.free([ip_network("0.0.0.0/1"), ip_network("128.0.0.0/1")])


def test_what_was_asked_for_is_refused_only_if_it_takes_something_from_somebody() -> None:
    """A claimed subnet that overlaps, and a route or address inside, are errors; a wider route is none."""
    wanted = ip_network("10.60.0.0/16")
    drafts.refuse_taken(wanted, [(ip_network("10.61.0.0/16"), "x")], [ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
    with pytest.raises(UsageError, match=r"overlaps 10\.60\.4\.0/24 of network lan"):
        drafts.refuse_taken(wanted, [(ip_network("10.60.4.0/24"), "network lan")], [])
    with pytest.raises(UsageError, match=r"route or address 10\.60\.0\.7/32"):
        drafts.refuse_taken(wanted, [], [ip_network("10.60.0.7/32")])
