"""A host that loses power and comes back: files stay, everything in /run and in the kernel is gone."""

from __future__ import annotations

import signal
import uuid
from typing import TYPE_CHECKING

from tests.hosts import wait_until

if TYPE_CHECKING:
    from tests.hosts import Host, Outside

_KERNEL = r"""
set -e
awk '$9 == "nsfs" || $10 == "nsfs" || $5 ~ "^/var/lib/docker/" || $5 ~ "^/run/(docker|netns)" { print $5 }' \
    /proc/self/mountinfo | sort -r | while read -r point; do umount -l "$point" 2>/dev/null || :; done
find /run -mindepth 1 -maxdepth 1 ! -name private -exec rm -rf {} +
mkdir -p /run/netns /run/lock
ip -o link | sed -n 's/^[0-9]*: \([^@:]*\)[@:].*/\1/p' | while read -r link; do
    case $link in lo|out0) ;; *) ip link delete "$link" 2>/dev/null || : ;; esac
done
nft flush ruleset
echo 0 > /proc/sys/net/ipv4/ip_forward
umount /proc/sys/kernel/random/boot_id 2>/dev/null || :
mount --bind /run/private/boot_id /proc/sys/kernel/random/boot_id
"""


def reboot(host: Host, outside: Outside) -> None:
    """Pull the plug; the engine is not started yet."""
    assert host.holder
    keep = {host.holder.pid, outside.holder.pid}
    if host.engine.running:
        host.kill_engine(containerd=True)

    def gone() -> bool:
        others = [pid for pid in host.members.find() if pid not in keep]
        for pid in others:
            host.members.send(pid, signal.SIGKILL)
        return not others

    wait_until(gone, 20, "the end of all processes", host.members.find)
    host.write("/run/private/boot_id", f"{uuid.uuid4()}\n")
    host.run("/bin/sh", "-c", _KERNEL)


def restore(host: Host) -> None:
    """Show the machine's own boot id again."""
    host.run("umount", "/proc/sys/kernel/random/boot_id", check=False)
