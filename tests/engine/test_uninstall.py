"""dockercni uninstall, on a host where the program was never installed as a service: it gives networks back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.engine.containers import BIN_DIRS, addresses, conflist, noop, run, settings, wait_attached
from tests.hosts import leftovers

if TYPE_CHECKING:
    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host


def test_a_daemon_that_runs_is_in_the_way(host: Host, daemon: Start, cli: Cli) -> None:
    """What would attach again at once has to be stopped first, and nothing is changed until then."""
    serving = daemon()
    run(host, "web")
    address = wait_attached(host, "web")
    done = cli("uninstall")
    assert done.returncode == 75
    assert "daemon); stop it first" in done.stderr
    assert addresses(host, "web") == [f"{address}/16"]
    serving.stop()
    assert cli("uninstall").returncode == 0
    assert leftovers(host) == []
    assert addresses(host, "web") == []


def test_what_was_attached_by_hand_goes_too(host: Host, cli: Cli) -> None:
    """An attachment of a namespace that is no container's is ours as well; a second uninstall finds nothing to do."""
    host.run("ip", "netns", "add", "mine")
    cli("add", "mine", "/run/netns/mine", check=True)
    assert "would give back the networks of mine\n" in cli("uninstall", "--dry-run").stdout
    assert cli("uninstall").stdout.startswith("give back the networks of mine\n")
    assert host.run("ip", "-netns", "mine", "-o", "link").stdout.count("\n") == 1
    assert "give back" not in cli("uninstall", check=True).stdout
    host.run("ip", "netns", "delete", "mine")


def test_what_cannot_be_given_back_stays(host: Host, cli: Cli) -> None:
    """If a plugin refuses, its error is shown, and records and state are kept for another try; --keep asks nobody."""
    settings(host, cni_bin_dir=BIN_DIRS)
    conflist(host, "odd", [noop(DEL={"fail": {"code": 11, "msg": "not today"}})])
    run(host, "web")
    cli("sync", check=True)
    done = cli("uninstall")
    assert done.returncode == 1
    assert "not today" in done.stderr
    assert cli("ps", "-o", "name").stdout == "web\n"
    assert cli("uninstall", "--keep").returncode == 0
    assert cli("ps", "-o", "name").stdout == "web\n"


def test_another_engine_with_the_same_id(host: Host, cli: Cli) -> None:
    """What belongs to an engine of another data root is left and named: two of 20.10 on a host have the same id."""
    run(host, "web")
    cli("sync", check=True)
    (record,) = host.path("/var/lib/cni/results").glob("*-eth0")
    ours = record.read_text()
    theirs = ours.replace('"root":"/var/lib/docker"', '"root":"/srv/docker"')
    assert theirs != ours
    record.write_text(theirs)
    host.run("find", "/var/lib/dockercni/containers", "-mindepth", "1", "-delete")  # the other daemon has its own
    dry = cli("uninstall", "--dry-run").stdout
    assert "leave the networks of web: they belong to another runtime or engine\n" in dry
    assert "give back" not in dry
    record.write_text(ours)
    assert "give back the networks of web\n" in cli("uninstall", check=True).stdout
    assert leftovers(host) == []
