"""Whatever was missed is made good: the daemon was down, the engine was down, containers came and went meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.engine.containers import address, addresses, run, wait_clean
from tests.hosts import leftovers, wait_until

if TYPE_CHECKING:
    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host


def test_started_while_the_daemon_was_down(host: Host, daemon: Start) -> None:
    """Containers that were started while the daemon was down have a network once it is back."""
    assert daemon().stop() == 0
    run(host, "web", "--publish=8080:80")
    assert not addresses(host, "web")
    running = daemon()
    added = running.wait_event("ADD", container="web")
    assert addresses(host, "web") == added["addresses"]


def test_died_while_the_daemon_was_down(host: Host, daemon: Start) -> None:
    """What containers had that stopped, were restarted or removed while the daemon was down is taken back."""
    first = daemon()
    names = ["stopped", "removed", "restarted", "stays"]
    for name in names:
        run(host, name, "--publish=80")
    for name in names:
        first.wait_event("ADD", container=name)
    kept = address(host, "stays")
    assert first.stop() == 0
    host.docker("stop", "stopped")
    host.docker("rm", "--force", "removed")
    host.docker("restart", "restarted")
    second = daemon()
    for name in ("stopped", "removed", "restarted"):
        second.wait_event("DEL", container=name)
    second.wait_event("ADD", container="restarted")
    assert address(host, "stays") == kept
    assert not [event for event in second.log() if event.get("container") == "stays"]
    host.docker("rm", "--force", "stopped", "restarted", "stays")
    wait_clean(host)


def test_engine_restarted(host: Host, daemon: Start) -> None:
    """When the engine is stopped and started, the daemon takes back what its containers had, and serves those that the
    engine starts by itself, without being restarted."""
    running = daemon()
    run(host, "web", "--restart=always")
    run(host, "once")
    running.wait_event("ADD", container="web")
    running.wait_event("ADD", container="once")
    before = len(running.log())
    host.stop_engine()
    running.wait_event("engine lost", after=before)
    host.start_engine()
    running.wait_event("DEL", container="once", after=before, timeout=40)
    running.wait_event("ADD", container="web", after=before, timeout=40)
    assert addresses(host, "web")
    host.docker("rm", "--force", "web", "once")
    wait_clean(host)


def test_engine_killed_with_live_restore(host: Host, daemon: Start) -> None:
    """With live restore containers keep their network while the engine is dead; what died meanwhile is taken back."""
    host.stop_engine()
    host.start_engine(live_restore=True)
    running = daemon()
    run(host, "lives")
    run(host, "dies")
    running.wait_event("ADD", container="lives")
    running.wait_event("ADD", container="dies")
    before, kept = len(running.log()), address(host, "lives")
    pid = host.docker("inspect", "--format={{.State.Pid}}", "dies")
    host.kill_engine()
    running.wait_event("engine lost", after=before)
    host.run("kill", "-KILL", pid)
    host.start_engine(live_restore=True)
    running.wait_event("DEL", container="dies", after=before, timeout=40)
    assert address(host, "lives") == kept
    assert not [event for event in running.log()[before:] if event.get("container") == "lives"]
    host.docker("rm", "--force", "lives", "dies")
    wait_clean(host)
    host.stop_engine()


def test_daemon_before_the_engine(host: Host, daemon: Start) -> None:
    """A daemon that is started before the engine waits for it."""
    host.stop_engine()
    running = daemon(wait=False)
    running.wait_event("engine lost")
    assert running.program.running
    host.start_engine()
    running.wait_event("ready", timeout=40)
    run(host, "web")
    running.wait_event("ADD", container="web")


def test_first_start_leaves_running_containers_alone(host: Host, daemon: Start, cli: Cli) -> None:
    """Containers that run at the very first start are left alone, by the next start too, until `sync` or a restart."""
    run(host, "old")
    run(host, "older")
    first = daemon()
    first.wait_event("left alone")
    run(host, "new")
    first.wait_event("ADD", container="new")
    assert not addresses(host, "old")
    assert first.stop() == 0
    second = daemon()
    second.program.process.send_signal(1)  # SIGHUP: look at everything again
    second.wait_event("reconciling all", reason="SIGHUP")
    host.docker("restart", "older")
    second.wait_event("ADD", container="older")
    assert not addresses(host, "old")
    assert cli("sync", "old").returncode == 0
    kept = address(host, "old")
    assert second.stop() == 0
    third = daemon()
    third.program.process.send_signal(1)
    third.wait_event("reconciling all", reason="SIGHUP")
    assert cli("sync").stdout.splitlines()[-1] == "converged: 3 containers, 3 attachments, 0 repaired"
    assert address(host, "old") == kept


def test_first_start_with_attach_running(host: Host, daemon: Start) -> None:
    """With --attach-running what runs already is attached as well, as `make run` wants it."""
    run(host, "old")
    daemon("--attach-running").wait_event("ADD", container="old")
    assert addresses(host, "old")


def test_interface_removed(host: Host, daemon: Start, cli: Cli) -> None:
    """An interface that somebody deleted is made anew by `sync`, which says why."""
    running = daemon()
    run(host, "web")
    running.wait_event("ADD", container="web")
    running.kill()  # it would have heard of it, and be faster
    host.container("web").run("ip", "link", "delete", "eth0")
    done = cli("sync")
    assert done.returncode == 0
    words = [line.split()[:4] for line in done.stdout.splitlines()[:2]]
    assert words == [["DEL", "web", "dockercni", "eth0"], ["ADD", "web", "dockercni", "eth0"]]
    assert "(its interface is gone)" in done.stdout
    assert addresses(host, "web")


def test_pin_removed(host: Host, daemon: Start, cli: Cli) -> None:
    """A pin that somebody took away is put back; where even that fails, lease, link and cache entry still go."""
    running = daemon()
    container_id = run(host, "web", "--publish=8080:80")
    running.wait_event("ADD", container="web")
    pin = f"/run/netns/dockercni-{container_id}"
    _take_away(host, pin)
    cli("sync")
    assert f"pin dockercni-{container_id}" in leftovers(host)
    _take_away(host, pin)
    host.docker("rm", "--force", "web")
    running.wait_event("DEL", container="web")
    # the reference bridge finds its masquerade rules by the address inside: without a namespace they stay
    wait_until(
        lambda: all(line.startswith("iptables") for line in leftovers(host)),
        10,
        "nothing left but rules",
        lambda: leftovers(host),
    )


def _take_away(host: Host, pin: str) -> None:
    """Unmount and remove a pin, until the daemon was not quicker in between."""
    take = ("/bin/sh", "-c", f"umount {pin}; rm {pin}")
    wait_until(lambda: host.run(*take, check=False).returncode == 0, 10, "the pin's end")
