"""What is asked for again when a container is attached once more."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

import pytest

from dockercni.cni import NetworkList, parse_list
from dockercni.model import NetworkRequest
from dockercni.reconcile import preferred
from dockercni.reconcile.history import PastAttachment

HOST_LOCAL = {"type": "host-local", "subnet": "10.0.0.0/24"}
MAC = "6a:11:22:33:44:55"
FIXED = "02:42:0a:00:00:09"


def network(*plugins: dict[str, Any]) -> NetworkList:
    """A network of plugins."""
    return parse_list(json.dumps({"cniVersion": "1.0.0", "name": "lan", "plugins": plugins}).encode())


def bridge(ipam: str, **more: Any) -> NetworkList:
    """A bridge network with an IPAM plugin."""
    return network({"type": "bridge", "ipam": {"type": ipam}, **more})


def asked(
    where: NetworkList, *ips: str, requested: str = "", mac: str = "", past: str = MAC
) -> tuple[tuple[str, ...], str]:
    """Addresses and MAC that are asked for, where the container had `ips`."""
    past = PastAttachment("lan", "eth0", tuple(f"{ip}/24" for ip in ips), "boot", "7", mac=past) if ips else None
    own = (ip_address(requested),) if requested else ()
    found = preferred.complete(where, NetworkRequest("lan", "eth0", own, mac), past)
    return tuple(map(str, found.ips)), found.mac


FLANNEL = {"type": "flannel", "delegate": {"isDefaultGateway": True}}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (bridge("host-local"), ("10.0.0.5",)),
        (bridge("host-local", capabilities={"ips": True}), ("10.0.0.5", "fd00::5")),
        (bridge("somebody-elses"), ("10.0.0.5",)),
        (bridge("dhcp"), ()),
        (bridge("static"), ()),
        (network({"type": "bridge"}), ()),
        (network(FLANNEL), ("10.0.0.5",)),
        (network({"type": "flannel"}), ("10.0.0.5",)),
        (network({"type": "mine", "delegate": {"type": "bridge", "ipam": HOST_LOCAL}}), ("10.0.0.5",)),
        (network({"type": "flannel", "delegate": {"ipam": {"type": "dhcp"}}}), ()),
    ],
)
def test_addresses(where: NetworkList, expected: tuple[str, ...]) -> None:
    """The last addresses, of any IPAM plugin that can be asked, also of the one that flannel delegates to."""
    assert asked(where, "10.0.0.5", "fd00::5")[0] == expected


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (bridge("host-local"), MAC),
        (bridge("dhcp"), MAC),
        (network({"type": "macvlan", "ipam": {"type": "dhcp"}}), MAC),
        (network({"type": "ptp", "ipam": HOST_LOCAL}), ""),
        (network({"type": "ptp", "capabilities": {"mac": True}, "ipam": HOST_LOCAL}), MAC),
        (network({"type": "bridge", "ipam": HOST_LOCAL}, {"type": "tuning", "mac": "02:00:00:00:00:01"}), ""),
    ],
)
def test_mac(where: NetworkList, expected: str) -> None:
    """The last MAC, where the network's plugins take one and the configuration names none."""
    assert asked(where, "10.0.0.5")[1] == expected


@pytest.mark.parametrize("nonsense", ["", "no mac", "00:00:00:00:00:00", "01:00:5e:00:00:01"])
def test_mac_of_no_use(nonsense: str) -> None:
    """What no link can have, or was never said, is not asked for."""
    assert asked(bridge("host-local"), "10.0.0.5", past=nonsense) == (("10.0.0.5",), "")


def test_requested() -> None:
    """What a label says comes first; an address that it names has a MAC of its own from the first start on."""
    where = bridge("host-local")
    assert asked(where, requested="10.0.0.9") == (("10.0.0.9",), FIXED)
    assert asked(where, "10.0.0.9", requested="10.0.0.9") == (("10.0.0.9",), MAC)
    assert asked(where, "10.0.0.5", mac="02:00:00:00:00:02") == (("10.0.0.5",), "02:00:00:00:00:02")
    assert asked(where) == ((), "")
    made = asked(where, requested="fd00::9")[1]
    assert made.startswith("02:42:")
    assert made != asked(where, requested="fd01::9")[1]
