"""Conversion of results as in libcni: number 37 of the conformance list, all seven versions to all seven."""

from __future__ import annotations

from typing import Any

import pytest

from dockercni.cni import ResultError, parse_result
from dockercni.cni.result import convert
from tests.unit.cni.lab import VERSIONS

OLD: dict[str, Any] = {
    "ip4": {"ip": "192.0.2.2/24", "gateway": "192.0.2.1", "routes": [{"dst": "0.0.0.0/0"}]},
    "ip6": {"ip": "2001:db8::2/64", "routes": [{"dst": "::/0", "gw": "2001:db8::1"}]},
    "dns": {"nameservers": ["192.0.2.53"]},
}
IPS: list[dict[str, Any]] = [
    {"address": "192.0.2.2/24", "gateway": "192.0.2.1"},
    {"address": "2001:db8::2/64"},
]
ROUTES = [{"dst": "0.0.0.0/0"}, {"dst": "::/0", "gw": "2001:db8::1"}]


def shaped(version: str, **keys: Any) -> dict[str, Any]:
    """The same addresses and routes in the shape of a version."""
    if version in ("0.1.0", "0.2.0"):
        return {"cniVersion": version, **OLD}
    ips = [dict(ip) for ip in IPS]
    if not version.startswith("1."):
        ips = [{"version": "6" if ":" in ip["address"] else "4", **ip} for ip in ips]
    return {"cniVersion": version, **keys, "ips": ips, "routes": ROUTES, "dns": OLD["dns"]}


@pytest.mark.parametrize("target", VERSIONS)
@pytest.mark.parametrize("source", VERSIONS)
def test_every_version_becomes_every_other(source: str, target: str) -> None:
    """H37: a result that both versions can say comes out exactly as if it had been made in the other one."""
    assert convert(parse_result(shaped(source), source), target).to_dict() == shaped(target)


@pytest.mark.parametrize("target", VERSIONS)
@pytest.mark.parametrize("source", ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_no_address_cannot_become_0_2_0(source: str, target: str) -> None:
    """H37: a result without addresses cannot be said in 0.1.0 and 0.2.0, and can in all others."""
    result = parse_result({"cniVersion": source, "interfaces": [{"name": "eth0"}]}, source)
    if target in ("0.1.0", "0.2.0"):
        with pytest.raises(ResultError, match="cannot convert: no valid IP addresses"):
            convert(result, target)
    else:
        assert convert(result, target).to_dict()["interfaces"] == [{"name": "eth0"}]


@pytest.mark.parametrize("target", ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
@pytest.mark.parametrize("source", ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_interface_zero_is_kept(source: str, target: str) -> None:
    """H37: an address of interface 0 is still one of interface 0 afterwards, not of none."""
    made = shaped(source, interfaces=[{"name": "eth0", "sandbox": "/x"}])
    made["ips"][0]["interface"] = 0
    ips = convert(parse_result(made, source), target).to_dict()["ips"]
    assert [ip.get("interface") for ip in ips] == [0, None]


@pytest.mark.parametrize("target", ["0.3.0", "0.4.0", "1.0.0", "1.1.0"])
def test_what_1_1_0_added(target: str) -> None:
    """H37: an interface's mtu, socketPath and pciID get lost below 1.0.0 and stay otherwise; routes stay whole."""
    link = {"name": "eth0", "mtu": 1400, "socketPath": "/s", "pciID": "0000:00:01.0"}
    route = {"advmss": 1300, "dst": "0.0.0.0/0", "mtu": 1400, "priority": 7, "scope": 0, "table": 0}
    made = {"cniVersion": "1.1.0", "interfaces": [link], "routes": [route]}
    written = convert(parse_result(made, "1.1.0"), target).to_dict()
    assert written["interfaces"] == [link if target.startswith("1.") else {"name": "eth0"}]
    assert written["routes"] == [route]


def test_a_result_inherits_the_version() -> None:
    """H37: a result without cniVersion, or null, is of the configuration's version; any other is read by its own."""
    for printed in (b"{}", b'{"cniVersion":""}', b'{"cniVersion":null}', b"null"):
        assert parse_result(printed, "0.4.0").cni_version == "0.4.0"
    assert parse_result(b'{"cniVersion":"0.3.1"}', "1.1.0").cni_version == "0.3.1"
