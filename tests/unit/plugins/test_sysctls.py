"""dockercni.plugins.sysctls, tuning_conf and host_local: the pure parts of tuning and host-local."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dockercni.cni.result import DNS
from dockercni.plugins import host_local, sysctls, tuning_conf
from dockercni.plugins.contract import PluginFailure, Request
from tests.unit.plugins.asking import Executables, call

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("net.core.somaxconn", "/proc/sys/net/core/somaxconn"),
        ("net/ipv4/conf/eth0.7/arp_notify", "/proc/sys/net/ipv4/conf/eth0/7/arp_notify"),
        ("net.ipv4.conf.IFNAME.arp_notify", "/proc/sys/net/ipv4/conf/eth0.9/arp_notify"),
        ("net/ipv4/../../kernel/hostname", "/proc/sys/net/ipv4/kernel/hostname"),
    ],
)
def test_path(key: str, found: str) -> None:
    """Dots are slashes, so that nothing leads upwards; but not those in the interface's own name."""
    assert sysctls.path(key, "eth0.9") == found


@pytest.mark.parametrize("key", ["kernel.hostname", "net", "", "network.x", "/etc/passwd"])
def test_path_outside(key: str) -> None:
    """Nothing but what is below net/ can be set."""
    with pytest.raises(PluginFailure, match="invalid net sysctl key"):
        sysctls.path(key, "eth0")


def test_allowlist(tmp_path: Path) -> None:
    """Each line is a regular expression that may match anywhere; without the file everything is allowed."""
    file = tmp_path / "allowlist.conf"
    sysctls.check_allowed(["net.core.somaxconn"], file)
    file.write_text("\n  ^net.core  \nipv4\n")
    sysctls.check_allowed(["net.core.somaxconn", "net/ipv4/x"], file)
    with pytest.raises(PluginFailure, match=r"Sysctl net.ipv6.x is not allowed. Only .* allowed: \[\^net.core ipv4\]"):
        sysctls.check_allowed(["net.core.somaxconn", "net.ipv6.x"], file)
    file.write_text("(")
    with pytest.raises(PluginFailure, match="is not a regular expression"):
        sysctls.check_allowed(["net.ipv6.x"], file)
    file.write_text("")
    with pytest.raises(PluginFailure, match="is not allowed"):
        sysctls.check_allowed(["net.ipv6.x"], file)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", DNS()),
        ("nameserver 1.1.1.1\nnameserver ::1 extra\n", DNS(nameservers=("1.1.1.1", "::1"))),
        ("domain a\ndomain b c\n", DNS(domain="b")),
        ("search a b\nsearch c\noptions d e:1\n", DNS(search=("a", "b", "c"), options=("d", "e:1"))),
        ("#nameserver 1\n; nameserver 2\nnameserver\nsortlist x\n\t options  o\n", DNS(options=("o",))),
    ],
)
def test_resolv_conf(text: str, found: DNS) -> None:
    """The last domain, and everything of the rest, without comments and lines that are not known."""
    assert host_local.parse_resolv_conf(text) == found


@pytest.mark.parametrize(
    ("conf", "args", "mac"),
    [
        ({"mac": "1"}, "", "1"),
        ({"mac": "1"}, "MAC=2", "2"),
        ({"mac": "1", "runtimeConfig": {"mac": "3"}}, "MAC=2", "3"),
        ({"mac": "1", "runtimeConfig": {"mac": "3"}, "args": {"cni": {"mac": "4"}}}, "MAC=2", "4"),
        ({}, "", ""),
    ],
)
def test_mac_precedence(conf: dict[str, Any], args: str, mac: str) -> None:
    """The configuration's MAC gives way to that of CNI_ARGS, then runtimeConfig, then args.cni."""
    made = call("ADD", {"type": "tuning"}, ARGS=args)
    request = Request(made, conf, "net", "1.0.0", "c1", "/x", "eth0", Executables())
    assert tuning_conf.read(request).mac == mac
