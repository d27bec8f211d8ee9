"""What a host shows of its network and its leases, in a form in which two twins can be compared."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.hosts import Host

LEASES = "/var/lib/cni/networks"
# not a MAC that a case asks for: those begin with one of two prefixes
_RANDOM = re.compile(
    r"\bveth[0-9a-f]{8}\b"
    r"|\b(?!00:00:00:00:00:00|ff:ff:ff:ff:ff:ff|02:00:00:00:00|02:11:22:33:44)(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b"
    r"|\bfe80::[0-9a-f:]+"
)
# numbers of the kernel, counters and times: what is meant is in the names beside them
_IGNORED = frozenset({
    "ifindex", "link_index", "link_netnsid", "group_address", "stats", "stats64", "root_id", "bridge_id",
    "root_path_cost", "gc_timer", "hello_timer", "tcn_timer", "topology_change_timer", "message_age_timer",
    "forward_delay_timer", "hold_timer", "port_id", "designated_bridge", "designated_root", "age", "used", "expires",
    "tentative",
})  # fmt: skip
_SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/core/somaxconn",
    "net/ipv4/conf/*/log_martians",
    "net/ipv4/conf/*/arp_notify",
    "net/ipv4/conf/*/route_localnet",
    "net/ipv6/conf/*/disable_ipv6",
    "net/ipv6/conf/*/accept_ra",
    "net/ipv6/conf/*/accept_dad",
    "net/ipv6/conf/*/enhanced_dad",
    "net/ipv6/conf/*/keep_addr_on_down",
)


class Labels:
    """Gives every random name and MAC of one host a label, by the order in which they are first seen."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}

    def apply(self, value: Any) -> Any:
        """`value` with every random part replaced by its label, keys of objects included."""
        if isinstance(value, str):
            return _RANDOM.sub(lambda match: self._label(match[0]), value)
        if isinstance(value, dict):
            return {self.apply(key): self.apply(each) for key, each in value.items()}
        return [self.apply(each) for each in value] if isinstance(value, list) else value

    def _label(self, text: str) -> str:
        if text.startswith("fe80"):
            return "link-local"
        kind = "veth" if text.startswith("veth") else "mac"
        known = sum(label.startswith(kind) for label in self._labels.values())
        return self._labels.setdefault(text, f"{kind}#{known + 1}")


def network(host: Host, namespace: str = "") -> dict[str, Any]:
    """Links, addresses, routes, bridge ports and sysctls of the host, or of one of its named namespaces."""
    enter = ("ip", "netns", "exec", namespace) if namespace else ()

    def listed(*argv: str) -> list[Any]:
        # ip prints nothing for nothing, and {} for what its filter left out
        found = json.loads(host.run(*enter, *argv).stdout or "[]")
        return [_kept(each) for each in found if each]

    links = {link["ifname"]: link for link in listed("ip", "-details", "-json", "address")}
    for port in listed("bridge", "-details", "-json", "link"):
        links[port["ifname"]]["port"] = port
    routes: dict[str, list[Any]] = {}
    for family in ("-4", "-6"):
        for route in listed("ip", family, "-details", "-json", "route"):
            routes.setdefault(f"{route['dst']} {route.get('dev')}", []).append(route)
    patterns = " ".join(f"/proc/sys/{pattern}" for pattern in _SYSCTLS)
    sysctls = host.run(*enter, "/bin/sh", "-c", f"grep -H . {patterns} /dev/null", check=False).stdout
    return {
        "link": links,
        "route": routes,
        "sysctl": dict(line.removeprefix("/proc/sys/").split(":", 1) for line in sysctls.splitlines()),
    }


def files(host: Host, directory: str = LEASES) -> dict[str, str]:
    """Every file below `directory`, with its mode and its bytes as text."""
    root = host.path(directory)
    return {
        str(path.relative_to(root)): f"{path.stat().st_mode & 0o7777:o} {path.read_bytes().decode('latin-1')!r}"
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def rules(host: Host) -> dict[str, Any]:
    """What iptables and nft show, line by line."""
    saved = {
        command: [line for line in host.run(command).stdout.splitlines() if not line.startswith("#")]
        for command in ("iptables-save", "ip6tables-save")
    }
    return {**saved, "nft": host.run("nft", "list", "ruleset", check=False).stdout.splitlines()}


def _kept(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _kept(each) for key, each in value.items() if key not in _IGNORED}
    return [_kept(each) for each in value] if isinstance(value, list) else value
