"""`dockercni sync`: its lines, its verdict, its exit codes, and that it may run beside anything."""

from __future__ import annotations

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.engine.containers import addresses, conflist, run, wait_clean
from tests.engine.daemons import environment
from tests.hosts import IMAGE, leftovers

if TYPE_CHECKING:
    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host


def test_lines_and_verdict(host: Host, cli: Cli) -> None:
    """`sync` prints one line for each action, with address, time and reason, and a verdict; then there is nothing to
    do."""
    assert cli("sync").stdout.splitlines() == ["converged: 0 containers, 0 attachments, 0 repaired"]
    run(host, "web")
    done = cli("sync")
    assert done.returncode == 0
    action, verdict = done.stdout.splitlines()
    (inside,) = addresses(host, "web")
    assert re.fullmatch(rf"ADD web dockercni eth0 {re.escape(inside)} \d+\.\d ms \(.+\)", action)
    assert verdict == "converged: 1 container, 1 attachment, 1 repaired"
    assert cli("sync").stdout.splitlines() == ["converged: 1 container, 1 attachment, 0 repaired"]
    host.docker("rm", "--force", "web")
    done = cli("sync")
    assert re.match(r"DEL web dockercni eth0 \d+\.\d ms \(the container was removed\)", done.stdout)
    assert done.stdout.splitlines()[-1] == "converged: 0 containers, 0 attachments, 1 repaired"
    assert leftovers(host) == []


def test_dry_run(host: Host, cli: Cli) -> None:
    """`sync --dry-run` says what it would do with exit code 3, changes nothing, and has nothing to say afterwards."""
    run(host, "web", "--publish=8080:80")
    done = cli("sync", "--dry-run")
    assert done.returncode == 3
    action, verdict = done.stdout.splitlines()
    assert re.fullmatch(r"would ADD web dockercni eth0 \(.+\)", action)
    assert verdict == "would be converged: 1 container, 1 attachment, 1 to repair"
    assert not addresses(host, "web")
    assert leftovers(host) == []
    assert cli("sync").returncode == 0
    before = leftovers(host)
    done = cli("sync", "--dry-run")
    assert (done.returncode, done.stdout.splitlines()) == (0, ["converged: 1 container, 1 attachment"])
    host.docker("stop", "web")
    done = cli("sync", "--dry-run")
    assert done.returncode == 3
    assert done.stdout.startswith("would DEL web dockercni eth0")
    assert leftovers(host) == before


def test_named_containers(host: Host, cli: Cli) -> None:
    """`sync NAME ID` looks at these only."""
    run(host, "one")
    two = run(host, "two")
    run(host, "three")
    assert cli("sync", "one", two[:12]).stdout.splitlines()[-1] == "converged: 2 containers, 2 attachments, 2 repaired"
    assert not addresses(host, "three")


def test_json(host: Host, cli: Cli) -> None:
    """`sync -o json` prints one document with the verdict and the actions."""
    container_id = run(host, "web")
    found = json.loads(cli("sync", "-o", "json", check=True).stdout)
    (action,) = found.pop("actions")
    assert found == {"schema": 1, "converged": True, "containers": 1, "attachments": 1, "strays": []}
    assert action.pop("ms") > 0
    assert action.pop("reason")
    assert action == {
        "action": "ADD",
        "container": "web",
        "id": container_id,
        "network": "dockercni",
        "ifname": "eth0",
        "addresses": addresses(host, "web"),
        "error": "",
    }


def test_some_failed(host: Host, cli: Cli) -> None:
    """What fails is told with the plugin's words and exit code 4; the other containers are served."""
    conflist(
        host, "bad", [{"type": "bridge", "bridge": "cni-bad", "ipam": {"type": "host-local"}}], file="90-bad.conflist"
    )
    conflist(host, "good", [{"type": "loopback"}], file="10-good.conflist")
    run(host, "web", "--label=dockercni.networks=bad")
    run(host, "fine")
    done = cli("sync")
    assert done.returncode == 4
    line = next(line for line in done.stdout.splitlines() if "failed: " in line)
    assert line.startswith('ADD web bad eth0 failed: plugin "bridge" failed (add): ')
    assert done.stdout.splitlines()[-1] == "not converged: 1 container, 1 attachment, 1 with problems: web"
    assert not [line for line in leftovers(host) if "web" in line or line.startswith(("lease", "link"))]


def test_two_beside_the_daemon(host: Host, daemon: Start, cli: Cli) -> None:
    """Two `sync` at once beside the daemon, while containers come and go: all succeed, nothing is attached twice."""
    running = daemon()
    names = [f"c{number}" for number in range(6)]
    with ThreadPoolExecutor(4) as pool:
        started = [pool.submit(run, host, name) for name in names]
        syncs = [pool.submit(cli, "sync") for _ in range(4)]
        for future in started:
            future.result()
        for future in syncs:
            done = future.result()
            assert done.returncode == 0, done.stdout + done.stderr
    assert cli("sync").stdout.splitlines()[-1].startswith("converged: 6 containers, 6 attachments")
    assert len({tuple(addresses(host, name)) for name in names}) == 6
    kinds = [line.split()[0] for line in leftovers(host)]
    assert [kinds.count(kind) for kind in ("lease", "cache", "pin", "link")] == [6, 6, 6, 6]
    with ThreadPoolExecutor(3) as pool:
        removed = pool.submit(host.docker, "rm", "--force", *names)
        syncs = [pool.submit(cli, "sync") for _ in range(2)]
        removed.result()
        for future in syncs:
            done = future.result()
            assert done.returncode == 0, done.stdout + done.stderr
    wait_clean(host)
    assert not [event for event in running.log() if event.get("level") == "error"]


def test_two_without_a_daemon(host: Host, cli: Cli) -> None:
    """Two `sync` at once attach each container once."""
    for number in range(4):
        run(host, f"c{number}")
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: cli("sync"), range(2)))
    assert [one.returncode for one in done] == [0, 0]
    added = [line for one in done for line in one.stdout.splitlines() if line.startswith("ADD")]
    assert len(added) == 4, added


def test_engine_down(host: Host, cli: Cli) -> None:
    """Without an engine every command that needs one says so in one line, with exit code 75; `ps` does without."""
    host.stop_engine()
    for command in (["sync"], ["sync", "--dry-run"], ["sync", "web"], ["add", "web"]):
        done = cli(*command)
        assert done.returncode == 75, command
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "/run/docker.sock" in done.stderr
        assert not done.stdout
    assert cli("ps").returncode == 0
    assert cli("networks").returncode == 0


def test_second_daemon(host: Host, daemon: Start, cli: Cli) -> None:
    """A second daemon ends with exit code 75, and says which process serves."""
    running = daemon()
    done = cli("daemon")
    assert done.returncode == 75
    assert f"daemon.lock is held by process {running.program.pid} (dockercni daemon)" in done.stderr


def test_not_root(host: Host) -> None:
    """Whoever is not root is told so in one line, with exit code 77; `version` is for everybody."""
    # nobody may look into no directory of root's, where this Python may stand: that much is left to it
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    drop += [f"--{kind}-caps=-all,+dac_read_search" for kind in ("inh", "ambient")]
    for command, code in (("sync", 77), ("daemon", 77), ("ps", 77), ("networks", 77), ("version", 0)):
        done = host.run(*drop, sys.executable, "-m", "dockercni", command, check=False, env=environment())
        assert done.returncode == code, (command, done.stderr)
        assert len(done.stderr.splitlines()) == bool(code), done.stderr


def test_unknown_container(host: Host, cli: Cli) -> None:
    """A container that nobody knows is a usage error that names it: exit code 2."""
    host.docker("create", "--name=web", "--network=none", IMAGE)
    for command in (["sync", "nobody"], ["add", "nobody"], ["del", "nobody"]):
        done = cli(*command)
        assert done.returncode == 2, command
        assert "nobody" in done.stderr
    assert cli("add", "web").returncode == 2  # it does not run
