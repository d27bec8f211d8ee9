"""loopback in a throw-away namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dockercni.cni import PluginError
from tests.unit.plugins.asking import ask

if TYPE_CHECKING:
    from tests.hosts import Host

CONF = {"cniVersion": "1.1.0", "name": "lo", "type": "loopback"}


def test_up_and_down(host: Host) -> None:
    """lo is up after ADD, whatever the interface is called, and down after DEL; a namespace that is gone is fine."""
    assert host.holder
    netns = f"/proc/{host.holder.pid}/ns/net"
    host.run("ip", "link", "set", "lo", "down")
    with pytest.raises(PluginError, match="loopback interface is down"):
        ask("CHECK", CONF, NETNS=netns)
    assert ask("ADD", CONF, "c1", "eth5", NETNS=netns) == {
        "cniVersion": "1.1.0",
        "interfaces": [{"mac": "00:00:00:00:00:00", "name": "lo", "sandbox": netns}],
        "ips": [{"address": "127.0.0.1/8", "interface": 0}, {"address": "::1/128", "interface": 0}],
    }
    ask("CHECK", CONF, NETNS=netns)
    ask("DEL", CONF, NETNS=netns)
    assert "UP" not in host.run("ip", "-brief", "link", "show", "lo").stdout
    for gone in ("", "/nowhere", "/proc/1234567890/ns/net"):
        ask("DEL", CONF, NETNS=gone)


def test_own_namespace_is_left_alone() -> None:
    """Our own namespace is never configured."""
    with pytest.raises(PluginError, match="should not be the same"):
        ask("DEL", CONF, NETNS="/proc/self/ns/net")
