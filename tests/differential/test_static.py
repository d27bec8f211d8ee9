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
