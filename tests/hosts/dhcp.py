"""A DHCP server in a private host, and the daemon of the `dhcp` plugin that asks it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.hosts.waiting import wait_until

if TYPE_CHECKING:
    from tests.hosts.commands import Background
    from tests.hosts.host import Host
    from tests.hosts.place import Place

SOCKET = "/run/cni/dhcp.sock"
LEASES = "/run/dnsmasq.leases"
RENEWAL = 3  # seconds, T1 (option 58): the least that dnsmasq takes; its leases are of two minutes at least


def start_server(host: Host, bridge: str, first: str, last: str, place: Place | None = None) -> Background:
    """Dnsmasq on a bridge that has an address, with two minutes' leases that are to be renewed after RENEWAL.

    The bridge is the host's, or that of another place.
    """
    started = (place or host).popen(
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--log-facility=-",
        "--log-dhcp",
        "--port=0",
        "--no-ping",
        "--user=root",
        f"--interface={bridge}",
        "--bind-interfaces",
        "--pid-file=",
        f"--dhcp-leasefile={LEASES}",
        f"--dhcp-range={first},{last},2m",
        f"--dhcp-option-force=option:T1,{RENEWAL}",
    )
    wait_until(lambda: "DHCP, sockets bound" in started.text() or not started.running, 10, "dnsmasq", started.text)
    assert started.running, started.text()
    return started


def start_daemon(host: Host, plugin: Path) -> Background:
    """The plugin's daemon, listening."""
    host.path(SOCKET).unlink(missing_ok=True)  # one that was killed leaves it
    started = host.popen(plugin, "daemon", "-timeout", "5s")
    wait_until(lambda: host.path(SOCKET).exists() or not started.running, 20, "the dhcp daemon", started.text)
    assert started.running, started.text()
    return started


def end(program: Background) -> None:
    """Kill it; on a busy machine, the end of its many threads in namespaces takes a while."""
    program.process.kill()
    program.process.wait(60)
