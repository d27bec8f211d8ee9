"""What containers that are gone have left behind in a private host, seen without asking dockercni."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from tests.hosts.outside import HOST_LINK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hosts.host import Host

LEASE_KEEPING = re.compile(r"lock|last_reserved_ip\..*")
CONTAINER = re.compile(r"CNI-(DN-|SN-|HOSTPORT-)?[0-9a-f]{8,}|[0-9a-f]{64}|\bid: ")
NETS = "/var/lib/cni/networks"


def leftovers(host: Host) -> list[str]:
    """One line for each lease, cache entry, pin, link and rule; empty when no container is attached."""
    return [*_files(host), *_links(host), *_rules(host)]


def _files(host: Host) -> Iterator[str]:
    for path in sorted(host.path(NETS).glob("*/*")):
        if not LEASE_KEEPING.fullmatch(path.name):
            yield f"lease {path.parent.name}/{path.name}"
    for path in sorted(host.path("/var/lib/cni/results").glob("*")):
        yield f"cache entry {path.name}"
    for path in sorted(host.path("/run/netns").glob("*")):
        yield f"pin {path.name}"


def _links(host: Host) -> Iterator[str]:
    for link in json.loads(host.run("ip", "-json", "-details", "link").stdout):
        if link.get("linkinfo", {}).get("info_kind") == "veth" and link["ifname"] != HOST_LINK:
            yield f"link {link['ifname']}"


def _rules(host: Host) -> Iterator[str]:
    for command in ("iptables-save", "ip6tables-save"):
        saved = host.run("/bin/sh", "-c", f"for table in nat filter; do {command} -t $table; done").stdout
        for line in saved.splitlines():
            foreign = line.startswith("-A DOCKER-USER ") and not line.endswith("-j RETURN")
            if foreign or "DOCKERCNI" in line or (line.startswith(("-A ", ":")) and CONTAINER.search(line)):
                yield f"{command.removesuffix('-save')} {line}"


WIPE = r"""
set -e
rm -rf /etc/cni/net.d/* /etc/dockercni/* /var/lib/cni/* /var/lib/cni/.[!.]* /var/lib/dockercni/* /run/dockercni
find /run/netns -mindepth 1 | while read -r pin; do umount -l "$pin" 2>/dev/null || :; rm -f "$pin"; done
ip -o link | sed -n 's/^[0-9]*: \([^@:]*\)[@:].*/\1/p' | while read -r link; do
    case $link in lo|docker0|out0|br-*) ;; *) ip link delete "$link" 2>/dev/null || : ;; esac
done
for family in iptables ip6tables; do
    for table in nat filter mangle raw; do
        saved=$($family-save -t $table 2>/dev/null) || continue
        kept=$(printf '%s\n' "$saved" | grep -vE 'CNI-|dockercni|^-A DOCKER-USER .*-j (ACCEPT|DROP)$') || continue
        [ "$kept" = "$saved" ] || printf '%s\n' "$kept" | $family-restore -T $table
    done
done
nft list tables 2>/dev/null | grep dockercni | while read -r _ family table; do nft delete table $family $table; done
conntrack -F >/dev/null 2>&1 || :
"""


def wipe(host: Host) -> None:
    """Bring a host without containers back to where it was before the first: configuration, state, links, rules."""
    host.run("/bin/sh", "-c", WIPE)
