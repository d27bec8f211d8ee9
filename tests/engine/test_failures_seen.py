"""What fails is seen where people look: the container's own output, ps, explain, one line in the log."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.engine.containers import BIN_DIRS, NOOP_RECORD, network, noop, noop_calls, run, settings, wait_attached
from tests.hosts import IMAGE, wait_until

if TYPE_CHECKING:
    from tests.engine.daemons import Cli, Start
    from tests.hosts import Host

TAKEN = re.compile(
    r"dockercni: network dockercni: port 8080/tcp of the host is taken: \S+ \(process \d+\) listens on \S+:8080"
)
FULL = "10.77.1.0/30"  # one address for the bridge, one for a container


@pytest.fixture(autouse=True)
def no_record(host: Host) -> None:
    """The no-op plugin's record starts empty."""
    host.path(NOOP_RECORD).unlink(missing_ok=True)


@pytest.mark.parametrize("flags", [(), ("--tty",), ("--interactive",), ("--user=65534",)], ids=" ".join)
def test_docker_run_shows_why(host: Host, daemon: Start, flags: tuple[str, ...]) -> None:
    """With on-failure=stop the reason is the last word of the container's own standard error, then it is killed."""
    host.serve_tcp(8080)
    daemon("--on-failure=stop")
    argv = ("docker", "run", "--name=web", "--network=none", "--publish=8080:80", *flags, IMAGE, "echo", "begun")
    done = host.run(*argv, check=False)
    assert done.returncode == 137
    assert TAKEN.search(done.stdout if "--tty" in flags else done.stderr), (done.stdout, done.stderr)
    assert "begun" not in done.stdout
    logs = host.run("docker", "logs", "web")
    assert TAKEN.search(logs.stdout + logs.stderr), logs


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--label=dockercni.networks=nowhere",), 'there is no network "nowhere"'),
        (("--label=dockercni.netwroks=lan",), "label dockercni.netwroks=lan: unknown label"),
        (("--label=dockercni.networks=slow",), "not ready within 1 s"),
    ],
    ids=["no such network", "misspelt label", "a plugin that hangs"],
)
def test_whatever_it_fails_for(host: Host, daemon: Start, flags: tuple[str, ...], words: str) -> None:
    """No container whose network is missing runs with on-failure=stop, and each says why."""
    settings(host, cni_bin_dir=BIN_DIRS, plugin_timeout="3s", hold="1s", on_failure="stop")
    network(host, "lan", "10.77.1.0/24")
    network(host, "slow", "10.77.2.0/24", more=[noop(ADD={"hang": True})])
    daemon()
    done = host.run("docker", "run", "--name=web", "--network=none", *flags, IMAGE, "echo", "begun", check=False)
    assert done.returncode == 137
    assert done.stderr.startswith("dockercni: ")
    assert words in done.stderr
    assert "begun" not in done.stdout


def test_a_full_pipe_holds_nobody_up(host: Host, daemon: Start) -> None:
    """A container without output (nobody reads, or it goes to /dev/null) is killed all the same."""
    host.serve_tcp(8080)
    one = daemon("--on-failure=stop")
    run(host, "web", "--publish=8080:80", "--log-driver=none")
    one.wait_event("stopped", container="web")
    wait_until(lambda: host.docker("inspect", "--format={{.State.ExitCode}}", "web") == "137", 10, "its end")


def test_a_failing_container_is_listed(host: Host, daemon: Start, cli: Cli) -> None:
    """ps and explain say what fails, why, since when, and when it is tried again; with a daemon and without."""
    settings(host, cni_bin_dir=BIN_DIRS)
    network(host, "lan", "10.77.1.0/24")
    network(host, "moon", "10.77.2.0/24", more=[noop(ADD={"fail": {"msg": "the moon is full"}})])
    one = daemon()
    run(host, "good")
    run(host, "web", "--label=dockercni.networks=lan,moon")
    run(host, "out", "--label=dockercni.enable=false")
    one.wait_event("ADD failed", container="web", network="moon")
    wait_until(lambda: _missing(cli) and _missing(cli)[0]["times"] > 1, 20, "another try", lambda: _missing(cli))
    [row] = _missing(cli)
    assert (row["container"], row["network"], row["ifname"], row["state"]) == ("web", "moon", "eth1", "failing")
    assert "the moon is full" in row["reason"]
    assert row["since"]
    assert row["retryIn"] is not None
    table = cli("ps", "-a").stdout
    assert re.search(
        r"^web +moon +eth1 +failing +plugin \"noop\" failed \(add\): the moon is full$", table, re.MULTILINE
    ), table
    assert re.search(r"^out +excluded +label dockercni\.enable=false$", table, re.MULTILINE), table
    assert "excluded" not in cli("ps").stdout
    explained = cli("explain", "web").stdout
    assert 'ADD moon eth1 fails: plugin "noop" failed (add): the moon is full' in explained
    assert "next try in " in explained
    failing = json.loads(cli("explain", "web", "-o", "json").stdout)["failing"]
    assert failing["parts"][0]["network"] == "moon"
    assert failing["times"] > 1
    one.stop()
    [row] = _missing(cli)
    assert (row["container"], row["network"], row["state"], row["retryIn"]) == ("web", "moon", "waiting", None)


def test_one_failure_is_one_line(host: Host, daemon: Start) -> None:
    """Looks early, held, at the start and again: the failure stands in the log once; at its end the count."""
    settings(host, cni_bin_dir=BIN_DIRS)
    network(host, "lan", "10.77.1.0/24", more=[noop(ADD={"fail": {"msg": "the moon is full"}})])
    one = daemon()
    run(host, "web")
    wait_until(lambda: noop_calls(host).count("ADD") >= 4, 30, "tries")
    assert len([event for event in one.log() if "the moon is full" in str(event.values())]) == 1
    network(host, "lan", "10.77.1.0/24", more=[noop()])
    assert one.wait_event("ADD", container="web")["failures"] >= 3


def test_a_permanent_error_is_not_tried_for_ever(host: Host, daemon: Start, cli: Cli) -> None:
    """Code 7 means that the configuration has to change: it is tried again when it does, and not before."""
    settings(host, cni_bin_dir=BIN_DIRS)
    bad = noop(ADD={"fail": {"msg": "no such mode", "code": 7}})
    network(host, "lan", "10.77.1.0/24", more=[bad])
    one = daemon()
    run(host, "web")
    one.wait_event("ADD failed", container="web")
    wait_until(lambda: _missing(cli), 10, "the failure")
    before = noop_calls(host).count("ADD")
    time.sleep(3.5)  # three more tries would have come
    assert noop_calls(host).count("ADD") == before
    assert _missing(cli)[0]["retryIn"] is None
    assert "tried again when a configuration or plugin changes" in cli("explain", "web").stdout
    network(host, "lan", "10.77.1.0/24", more=[noop()])
    wait_attached(host, "web", timeout=5)


@pytest.mark.parametrize("how", ["docker rm", "dockercni del", "a stranger's lease"])
def test_a_freed_address_goes_to_who_waits(host: Host, daemon: Start, cli: Cli, how: str) -> None:
    """In a full subnet the next container gets an address as soon as there is one, however that came about."""
    network(host, "lan", FULL)
    settings(host, attach="labelled")
    one = daemon()
    label = "--label=dockercni.networks=lan"
    lease = "/var/lib/cni/networks/lan/10.77.1.2"
    if how == "a stranger's lease":
        host.write(lease, "stranger\r\neth0")
    else:
        run(host, "first", label)
        wait_attached(host, "first")
    run(host, "second", label)
    one.wait_event("ADD failed", container="second")
    wait_until(lambda: (_missing(cli) or [{}])[0].get("times", 0) >= 5, 60, "longer pauses", lambda: _missing(cli))
    match how:
        case "docker rm":
            host.docker("rm", "--force", "first")
        case "dockercni del":
            cli("del", "first", check=True)
        case _:
            host.path(lease).unlink()
    wait_attached(host, "second", timeout=4)  # the next try was due later


def _missing(cli: Cli) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(cli("ps", "-o", "json").stdout)["missing"]
    return found


def test_a_del_that_fails_is_not_hidden_by_what_follows(host: Host, daemon: Start) -> None:
    """A restarted container whose DEL fails gets no ADD beside it, whose failure would only say that it is there."""
    settings(host, cni_bin_dir=BIN_DIRS)
    network(host, "lan", "10.77.1.0/24", more=[noop(DEL={"fail": {"msg": "not now"}})])
    one = daemon("--hold=off")
    run(host, "web")
    one.wait_event("ADD", container="web")
    host.docker("restart", "web")
    one.wait_event("DEL failed", container="web")
    one.wait_event("NOTE", container="web", reason="ADD waits for that DEL")
    assert not [event for event in one.log() if event["event"] == "ADD failed"]
