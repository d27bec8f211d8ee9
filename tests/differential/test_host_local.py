"""host-local against the reference executable: results, errors, and the lease directory byte for byte."""

from __future__ import annotations

from typing import Any

import pytest

from tests.differential.twin import Twin

SUBNET = {"subnet": "10.1.0.0/24"}
SMALL = {"subnet": "10.1.0.0/29", "rangeStart": "10.1.0.2", "rangeEnd": "10.1.0.4"}
V4, V6 = {"subnet": "10.1.0.0/24"}, {"subnet": "fd00:1::/64"}


def conf(version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    """A configuration whose main plugin is host-local itself; keys other than ipam's are given with `top_`."""
    top = {key.removeprefix("top_"): value for key, value in more.items() if key.startswith("top_")}
    ipam = {key: value for key, value in more.items() if not key.startswith("top_")}
    return {"cniVersion": version, "name": "net", "type": "host-local", "ipam": {"type": "host-local", **ipam}, **top}


@pytest.mark.parametrize("version", ["", "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"])
def test_versions(version: str) -> None:
    """One address, two families, routes and DNS in every version of the specification."""
    with Twin(*(["empty-dns"] if version == "1.0.0" else []), "lease-mode") as twin:
        twin.container()
        twin.write(
            "/run/resolv.conf", "; a\n# b\nnameserver 10.1.0.9\nnameserver ::1\nsearch a b\n options c\ndomain d\nx\n"
        )
        twin.step("ADD", conf(version, **SUBNET, routes=[{"dst": "0.0.0.0/0"}, {"dst": "::/0", "gw": "fd00::1"}]))
        twin.step("ADD", conf(version, ranges=[[V4], [V6]], resolvConf="/run/resolv.conf"), ifname="eth1")
        twin.step("CHECK", conf(version, **SUBNET), ifname="eth1")
        twin.step("ADD", conf(version, ranges=[[V4], [{"subnet": "10.2.0.0/24"}]]), container="c2", netns="c1")
        twin.compare_leases()
        twin.step("DEL", conf(version, **SUBNET))
        twin.compare_leases()
