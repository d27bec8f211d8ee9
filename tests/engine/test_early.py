"""The network is there at the entrypoint's first instruction."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from tests.engine.probes import BIN_DIR, PROBE, configure, share
from tests.hosts import IMAGE, leftovers, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engine.daemons import Daemon
    from tests.hosts import Host

SLOW = {"ADD": {"sleep": 1}}
LATE = "can't find device"


def test_one_by_one(host: Host, daemon: Callable[..., Daemon]) -> None:
    """Forty single starts: every one of them."""
    daemon()
    assert share(host, 40) == 40


def test_burst(host: Host, daemon: Callable[..., Daemon]) -> None:
    """Twenty starts at the same time: every one of them, with nothing to complain of. (Fifty: test_every_start.)"""
    one = daemon()
    assert share(host, 20, together=True) == 20
    assert not [event for event in one.log() if event["level"] != "info"]


def test_slow_plugin(host: Host, daemon: Callable[..., Daemon]) -> None:
    """With a plugin that takes a second, twenty at the same time: every one of them."""
    configure(host, **SLOW)
    daemon(BIN_DIR)
    assert share(host, 20, together=True) == 20


@pytest.mark.parametrize("where", ["setting", "label"])
def test_slow_plugin_without_the_hold(host: Host, daemon: Callable[..., Daemon], where: str) -> None:
    """Without the hold, a plugin that takes five seconds is too slow for all of them: the hold is what makes it."""
    configure(host, ADD={"sleep": 5})
    daemon(BIN_DIR, *(["--hold=off"] if where == "setting" else []))
    assert share(host, 3, *(["--label=dockercni.hold=off"] if where == "label" else [])) == 0


def test_label_holds_though_the_setting_does_not(host: Host, daemon: Callable[..., Daemon]) -> None:
    """The label dockercni.hold=DURATION is obeyed though the setting is off."""
    configure(host, **SLOW)
    daemon(BIN_DIR, "--hold=off")
    assert share(host, 2, "--label=dockercni.hold=20s") == 2


def test_engine_starts(host: Host, daemon: Callable[..., Daemon]) -> None:
    """Containers with a restart policy find their address when the engine starts, also if we are just started."""
    configure(host, **SLOW)
    first = daemon(BIN_DIR)
    names = [f"one{n}" for n in range(8)]
    for name in names:
        command = f"{' '.join(PROBE)}; exec sleep 86400"
        host.docker(
            "run", "--detach", f"--name={name}", "--restart=always", "--network=none", IMAGE, "sh", "-c", command
        )
    _wait_lives(host, names, 1)
    host.stop_engine()
    host.start_engine()
    _wait_lives(host, names, 2)
    host.stop_engine()
    first.stop()
    daemon(BIN_DIR, wait=False).wait_event("started")
    host.start_engine()
    _wait_lives(host, names, 3)
    assert not any(LATE in _logs(host, name) for name in names)


def test_restart(host: Host, daemon: Callable[..., Daemon]) -> None:
    """`docker restart` and `docker start` find it, too."""
    configure(host, **SLOW)
    daemon(BIN_DIR)
    host.docker("run", "--name=one", "--network=none", IMAGE, *PROBE)
    host.docker("start", "--attach", "one")
    host.docker("restart", "one")
    wait_until(lambda: _logs(host, "one").count("inet ") == 3, 20, "three lives", lambda: _logs(host, "one"))
    assert LATE not in _logs(host, "one")


def test_crash_loop(host: Host, daemon: Callable[..., Daemon]) -> None:
    """Each life of a container that ends at once and is started again finds its own."""
    daemon()
    host.docker("run", "--detach", "--name=one", "--restart=always", "--network=none", IMAGE, *PROBE)
    wait_until(lambda: _logs(host, "one").count("inet ") >= 5, 60, "five lives", lambda: _logs(host, "one"))
    assert LATE not in _logs(host, "one")
    host.docker("rm", "--force", "one")
    wait_until(lambda: not leftovers(host), 20, "nothing left", lambda: leftovers(host))


def test_start_that_fails(host: Host, daemon: Callable[..., Daemon]) -> None:
    """A start that fails gives everything back, though no container ever died."""
    configure(host)
    one = daemon(BIN_DIR)
    host.docker("run", "--name=one", "--network=none", IMAGE, "/no/such/program", check=False)
    one.wait_event("ADD", container="one")
    wait_until(lambda: not leftovers(host), 5, "nothing left", lambda: leftovers(host))


def test_ipv6(host: Host, daemon: Callable[..., Daemon]) -> None:
    """An IPv6 address and route are there, though the engine switches IPv6 off while the container starts."""
    configure(host, subnets=("10.9.0.0/16", "fd09::/64"))
    daemon(BIN_DIR)
    show = "ip -o addr show eth0; ip -6 route; ping -6 -c 1 -w 5 $(hostname -i | tr ' ' '\\n' | grep -m1 :)"
    said = host.docker("run", "--rm", "--network=none", IMAGE, "sh", "-c", show, check=False)
    assert "inet6 fd09::" in said
    assert "default via fd09::1" in said
    assert host.docker("run", "--rm", "--network=none", IMAGE, *PROBE).count("inet6 fd09::") == 1


def test_ipv6_without_the_hold(host: Host, daemon: Callable[..., Daemon]) -> None:
    """Without the hold it is put back when the engine says that the container has started."""
    configure(host, subnets=("10.9.0.0/16", "fd09::/64"))
    daemon(BIN_DIR, "--hold=off")
    host.docker("run", "--detach", "--name=one", "--network=none", IMAGE)
    show = ("exec", "one", *PROBE)
    wait_until(lambda: "inet6 fd09::" in host.docker(*show, check=False), 10, "the address", lambda: host.docker(*show))


def test_failure_leaves(host: Host, daemon: Callable[..., Daemon]) -> None:
    """With on-failure=leave a container whose ADD fails runs at once, without a network."""
    configure(host, ADD={"fail": {}})
    daemon(BIN_DIR)
    began = time.monotonic()
    assert LATE in _output(host)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("seconds", [0, 1])
@pytest.mark.parametrize("wish", ["leave", "stop"])
def test_failure_on_the_way(host: Host, daemon: Callable[..., Daemon], wish: str, seconds: int) -> None:
    """An ADD that began before the entrypoint was held, and failed, is tried again: it may have been for what
    the engine did meanwhile (20.10 switches IPv6 off)."""
    once = host.path("/run/private/failed")
    once.unlink(missing_ok=True)
    configure(host, ADD={"sleep": seconds, "fail_once": "/run/private/failed"})
    one = daemon(BIN_DIR, f"--on-failure={wish}")
    assert "inet " in _output(host)
    assert one.wait_event("ADD failed")
    assert one.wait_event("released", reason="go")


def test_failure_holds(host: Host, daemon: Callable[..., Daemon]) -> None:
    """With on-failure=hold it waits until a later try succeeds, or the limit is over."""
    configure(host, ADD={"fail": {}})
    one = daemon(BIN_DIR, "--on-failure=hold", "--hold=4s")
    assert LATE in _output(host)
    assert one.wait_event("released")["reason"] == "limit"
    host.docker("run", "--detach", "--name=two", "--network=none", IMAGE, *PROBE)
    one.wait_event("ADD failed", container="two")
    configure(host)
    wait_until(lambda: "inet " in _logs(host, "two"), 20, "its address", lambda: _logs(host, "two"))


@pytest.mark.parametrize("flags", [["--on-failure=stop"], ["--on-failure=stop", "--hold=1s"]])
def test_failure_stops(host: Host, daemon: Callable[..., Daemon], flags: list[str]) -> None:
    """With on-failure=stop it is killed before its first instruction, also when the limit is over first."""
    configure(host, ADD={"fail": {}} if len(flags) == 1 else {"sleep": 3})
    daemon(BIN_DIR, *flags)
    done = host.run("docker", "run", "--network=none", IMAGE, "echo", "executed", check=False)
    assert (done.returncode, done.stdout) == (137, "")


def test_failure_label(host: Host, daemon: Callable[..., Daemon]) -> None:
    """The label dockercni.on-failure wins over the setting."""
    configure(host, ADD={"fail": {}})
    daemon(BIN_DIR)
    label = "--label=dockercni.on-failure=stop"
    assert host.run("docker", "run", "--network=none", label, IMAGE, "true", check=False).returncode == 137


def test_unwanted_are_left_alone(host: Host, daemon: Callable[..., Daemon]) -> None:
    """Containers that are not to be attached are neither held nor touched."""
    configure(host, **SLOW)
    one = daemon(BIN_DIR)
    for flags in (["--network=none", "--label=dockercni.enable=false"], ["--network=bridge"], ["--network=host"]):
        host.docker("run", "--rm", *flags, IMAGE, "true")
    assert not [event for event in one.log() if event["event"] in {"released", "ADD"}]


def test_parent_of_its_own(host: Host, daemon: Callable[..., Daemon]) -> None:
    """A container with a cgroup parent of its own is found, too."""
    configure(host, **SLOW)
    daemon(BIN_DIR)
    assert share(host, 2, f"--cgroup-parent={host.engine.cgroup_parent('deep', 'er')}") == 2


def _wait_lives(host: Host, names: list[str], lives: int) -> None:
    """Wait until each of them has told of its interface so many times."""
    wait_until(
        lambda: all(len(re.findall(f"inet |{LATE}", _logs(host, name))) == lives for name in names),
        60,
        f"{lives} lives",
        lambda: [_logs(host, name) for name in names],
    )


def _output(host: Host) -> str:
    done = host.run("docker", "run", "--network=none", IMAGE, *PROBE, check=False)
    return done.stdout + done.stderr


def _logs(host: Host, name: str) -> str:
    done = host.run("docker", "logs", name)
    return done.stdout + done.stderr
