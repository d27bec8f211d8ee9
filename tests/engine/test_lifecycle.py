"""Every way in which a container stops, comes back and goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import address, addresses, run, wait_attached, wait_clean
from tests.hosts import IMAGE, CommandError, leftovers, wait_until

if TYPE_CHECKING:
    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host


def counted(host: Host) -> dict[str, int]:
    """How many leases, cache entries, pins and links there are."""
    kinds = [line.split()[0] for line in leftovers(host)]
    return {kind: kinds.count(kind) for kind in ("lease", "cache", "pin", "link")}


def wait_one_attachment(host: Host) -> None:
    """Wait until there is exactly one attachment: what the life before had is gone."""
    wanted = {"lease": 1, "cache": 1, "pin": 1, "link": 1}
    wait_until(lambda: counted(host) == wanted, 20, "one attachment", lambda: leftovers(host))


def test_restart(host: Host, daemon: Start) -> None:
    """After `docker restart` the new life has a network, the earlier one has left nothing, and again after a second."""
    running = daemon()
    run(host, "web", "--publish=8080:80")
    running.wait_event("ADD", container="web")
    for _ in range(2):
        before = len(running.log())
        host.docker("restart", "web")
        running.wait_event("DEL", container="web", after=before)
        running.wait_event("ADD", container="web", after=before)
        assert addresses(host, "web")
        wait_one_attachment(host)
    host.docker("rm", "--force", "web")
    wait_clean(host)


def test_stop_and_start(host: Host, daemon: Start) -> None:
    """A stopped container holds nothing, and has a network again when it is started."""
    running = daemon()
    run(host, "web", "--publish=8080:80")
    running.wait_event("ADD", container="web")
    host.docker("stop", "web")
    wait_clean(host)
    host.docker("start", "web")
    wait_attached(host, "web")
    wait_one_attachment(host)


@pytest.mark.parametrize(
    ("flags", "command", "end"),
    [
        ((), ("sleep", "86400"), ("kill", "web")),
        ((), ("sleep", "86400"), ("stop", "web")),
        (("--rm",), ("sleep", "86400"), ("stop", "web")),
        ((), ("sh", "-c", "while ! [ -e /end ]; do usleep 10000; done"), ("exec", "web", "touch", "/end")),
        (("--rm",), ("sh", "-c", "while ! [ -e /end ]; do usleep 10000; done"), ("exec", "web", "touch", "/end")),
    ],
    ids=["kill", "stop", "stop --rm", "natural exit", "natural exit --rm"],
)
def test_end(host: Host, daemon: Start, flags: tuple[str, ...], command: tuple[str, ...], end: tuple[str, ...]) -> None:
    """However a container ends, its network is taken back whole, even without `docker rm`."""
    running = daemon()
    run(host, "web", "--publish=8080:80", *flags, command=command)
    running.wait_event("ADD", container="web")
    host.docker(*end)
    running.wait_event("DEL", container="web")
    wait_clean(host)


def test_short_life(host: Host, daemon: Start, cli: Cli) -> None:
    """Containers that end at once leave nothing, whether an ADD came in time or not."""
    running = daemon()
    for number in range(5):
        run(host, f"short{number}", "--rm", command=("true",))
    run(host, "last")
    running.wait_event("ADD", container="last")
    host.docker("rm", "--force", "last")
    wait_clean(host)
    assert cli("sync", "--dry-run").returncode == 0


def test_crash_loop(host: Host, daemon: Start) -> None:
    """With a restart policy every life gets a network of its own, and after `rm -f` nothing is left of any."""
    running = daemon()
    run(host, "web", "--restart=always", command=("sh", "-c", "usleep 900000; exit 1"))
    wait_until(
        lambda: sum(event["event"] == "ADD" for event in running.log()) >= 3, 60, "three lives", running.program.text
    )
    host.docker("rm", "--force", "web")
    wait_clean(host)


def test_pause(host: Host, daemon: Start, cli: Cli) -> None:
    """A paused container keeps its network, and neither daemon nor `sync` changes anything."""
    running = daemon()
    run(host, "web")
    running.wait_event("ADD", container="web")
    before = leftovers(host)
    host.docker("pause", "web")
    assert cli("sync").stdout.splitlines() == ["converged: 1 container, 1 attachment, 0 repaired"]
    host.docker("unpause", "web")
    assert cli("sync").stdout.splitlines() == ["converged: 1 container, 1 attachment, 0 repaired"]
    assert leftovers(host) == before
    assert addresses(host, "web")


def test_rename(host: Host, daemon: Start, cli: Cli) -> None:
    """After `docker rename` the container keeps its network and is known by its new name."""
    running = daemon()
    container_id = run(host, "old")
    running.wait_event("ADD", container="old")
    before = address(host, "old")
    host.docker("rename", "old", "new")
    assert cli("sync").returncode == 0
    assert address(host, "new") == before
    assert cli("ps", check=True).stdout.splitlines()[1].split()[0] == "new"
    host.docker("rm", "--force", "new")
    running.wait_event("DEL", id=container_id)
    wait_clean(host)


def test_failed_start(host: Host, daemon: Start, cli: Cli) -> None:
    """A start that fails leaves nothing, and the same container may be removed and made anew."""
    running = daemon()
    with pytest.raises(CommandError, match="no such file"):
        host.docker("run", "--detach", "--name=web", "--network=none", "--publish=8080:80", IMAGE, "/no/such/file")
    assert cli("sync").stdout.splitlines() == ["converged: 0 containers, 0 attachments, 0 repaired"]
    assert leftovers(host) == []
    host.docker("rm", "web")
    run(host, "web", "--publish=8080:80")
    running.wait_event("ADD", container="web")


def test_addresses_are_reused(host: Host, daemon: Start) -> None:
    """More containers one after the other than the subnet has addresses: none leaks."""
    host.write(
        "/etc/cni/net.d/10-small.conflist",
        '{"cniVersion": "1.0.0", "name": "small", "plugins": [{"type": "bridge", "bridge": "cni-small", "ipam": '
        '{"type": "host-local", "ranges": [[{"subnet": "10.77.9.0/29"}]]}}]}',
    )
    running = daemon()
    for number in range(8):
        run(host, f"web{number}")
        running.wait_event("ADD", container=f"web{number}")
        host.docker("rm", "--force", f"web{number}")
        running.wait_event("DEL", container=f"web{number}")
    wait_clean(host)
