"""static against the reference executable."""

from __future__ import annotations

from typing import Any

import pytest

from tests.differential.twin import Twin

ADDRESSES = [
    {"address": "10.1.0.5/24", "gateway": "10.1.0.1"},
    {"address": "fd00::5/64"},
    {"address": "10.2.0.5/24", "gateway": "10.2.0.254"},
]
ROUTES = [{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16", "gw": "10.1.0.9"}]


def conf(version: str = "1.0.0", **ipam: Any) -> dict[str, Any]:
    """A configuration whose main plugin is static itself, as the plugin sees it when delegated to."""
    return {"cniVersion": version, "name": "net", "type": "static", "ipam": {"type": "static", **ipam}}


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"])
def test_versions(version: str) -> None:
    """The result is that of the executable in every version, DNS and routes included."""
    with Twin(*(["empty-dns"] if version == "1.0.0" else [])) as twin:
        twin.container()
        dns = {"nameservers": ["10.1.0.1"], "domain": "a", "search": ["b"], "options": ["c"]}
        twin.step("ADD", conf(version, addresses=ADDRESSES[:2], routes=ROUTES, dns=dns))
        twin.step("ADD", conf(version, addresses=ADDRESSES, routes=ROUTES, dns=dns))
        twin.step("ADD", conf(version, routes=ROUTES))
        twin.step("DEL", conf(version, addresses=ADDRESSES))


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "argument": ("IP=10.1.0.9/24", {}, {}),
    "arguments": ("IP=10.1.0.9/24,fd00::9/64;GATEWAY=10.1.0.1,fd00::1", {}, {}),
    "argument-spaces": ("IP= 10.1.0.9/24 , 10.1.0.10/24;GATEWAY= 10.1.0.1", {}, {}),
    "argument-without-prefix": ("IP=10.1.0.9", {}, {}),
    "argument-bad-gateway": ("IP=10.1.0.9/24;GATEWAY=x", {}, {}),
    "argument-two-gateways": ("IP=10.1.0.9/24;GATEWAY=10.1.0.1,10.1.0.2", {}, {}),
    "argument-gateway-of-configured": ("GATEWAY=10.1.0.1", {"addresses": [{"address": "10.1.0.5/24"}]}, {}),
    "argument-unknown": ("A=b", {}, {}),
    "argument-ignored": ("A=b;IgnoreUnknown=1", {"addresses": ADDRESSES}, {}),
    "args": ("IP=10.1.0.9/24", {"addresses": ADDRESSES}, {"args": {"cni": {"ips": ["10.3.0.1/16"]}}}),
    "runtime": ("", {"addresses": ADDRESSES}, {"runtimeConfig": {"ips": ["10.3.0.1/16", "fd00::1/64"]}}),
    "runtime-over-args": (
        "",
        {},
        {"runtimeConfig": {"ips": ["10.3.0.1/16"]}, "args": {"cni": {"ips": ["10.4.0.1/16"]}}},
    ),
    "args-without-prefix": ("", {}, {"args": {"cni": {"ips": ["10.3.0.1"]}}}),
    "runtime-without-prefix": ("", {}, {"runtimeConfig": {"ips": ["10.3.0.1"]}}),
    "bad-address": ("", {"addresses": [{"address": "10.1.0.5"}]}, {}),
    "no-address": ("", {"addresses": [{"gateway": "10.1.0.1"}]}, {}),
    "same-twice": ("", {"addresses": [ADDRESSES[0], ADDRESSES[0]]}, {}),
    "host-address": ("", {"addresses": [{"address": "10.1.0.5/32"}, {"address": "fd00::/128"}]}, {}),
    "case": ("", {"Addresses": [{"ADDRESS": "10.1.0.5/24", "Gateway": "10.1.0.1"}]}, {}),
    "mapped": ("IP=::ffff:10.1.0.9/120", {"addresses": [{"address": "::ffff:10.1.0.5/120"}]}, {}),
    "no-ipam": ("", {}, {"ipam": None}),
}


@pytest.mark.parametrize("case", CASES)
def test_sources(case: str) -> None:
    """Where addresses come from, which source wins, and what each refuses."""
    args, ipam, top = CASES[case]
    with Twin() as twin:
        twin.container()
        twin.step("ADD", {**conf(**ipam), **top}, args=args)
        twin.step("CHECK", {**conf(**ipam), **top}, args=args)
        twin.step("DEL", {**conf(**ipam), **top}, args=args)


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0"])
def test_check(version: str) -> None:
    """CHECK compares the gateway of each address that is in prevResult, and nothing else."""
    with Twin() as twin:
        twin.container()
        kind = {} if version == "1.0.0" else {"version": "4"}
        for ip in (
            {"address": "10.1.0.5/24", "gateway": "10.1.0.1"},
            {"address": "10.1.0.5/24", "gateway": "10.1.0.2"},
            {"address": "10.1.0.5/24"},
            {"address": "10.7.0.5/24"},
        ):
            previous = {"cniVersion": version, "ips": [{**kind, **ip}]}
            twin.step("CHECK", {**conf(version, addresses=[ADDRESSES[0]]), "prevResult": previous})
