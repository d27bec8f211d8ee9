"""The Debian package on a host with systemd: installed, served by, disturbed, upgraded and removed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.hosts import wait_until
from tests.install.conftest import OLDER

if TYPE_CHECKING:
    from tests.install.machine import Machine

UNIT = "dockercni.service"


def active(machine: Machine) -> bool:
    """Whether the service runs."""
    return machine.unit(UNIT, "ActiveState") == "active"


def wait_web(machine: Machine, port: int) -> None:
    """Wait until a published port answers to another machine."""
    wait_until(lambda: machine.answers(port), 30, f"an answer from port {port}", machine.journal)


def wait_renewed(machine: Machine, restarts: int, timeout: float) -> None:
    """Wait until the service was started anew by systemd, and is ready."""
    wait_until(
        lambda: int(machine.unit(UNIT, "NRestarts")) > restarts and active(machine),
        timeout,
        "a restart by systemd",
        machine.journal,
    )


def test_it_serves_once_it_is_installed(served: Machine) -> None:
    """Installing enables and starts the service; a container has its network at its first instruction, and its port."""
    assert active(served)
    assert served.unit(UNIT, "UnitFileState") == "enabled"
    served.web("web", 8080)
    wait_web(served, 8080)
    assert "inet 10." in served.first_words("web")
    wait_until(lambda: served.unit(UNIT, "StatusText").startswith("serves; "), 20, "the state in one line")
    assert re.search(r"^ADD container=web id=\w+ network=dockercni ifname=eth0 ", served.journal(), re.MULTILINE)
    assert served.run("dockercni", "status").stdout.endswith("converged\n")
    served.docker("rm", "--force", "web")
    wait_until(lambda: not served.shell("ls /run/netns"), 20, "the pin's end", served.journal)


def test_man_pages_and_completions_are_there(served: Machine) -> None:
    """Each command has its page, bash completes, and the settings file is a conffile that changes nothing."""
    listed = served.run("dpkg", "--listfiles", "dockercni").stdout
    assert "/usr/share/man/man8/dockercni-sync.8.gz\n" in listed
    served.run("bash", "-n", "/usr/share/bash-completion/completions/dockercni")
    assert "/etc/dockercni/dockercni.toml" in served.shell("cat /var/lib/dpkg/info/dockercni.conffiles")
    printed = served.run("dockercni", "settings").stdout.splitlines()[1:]
    assert all(line.endswith("default") for line in printed)
    assert served.run("dpkg", "--verify", "dockercni").stdout == ""


def test_units_are_sound(served: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """systemd has no complaint about any unit, and the daemon's exposure is not worse than it was."""
    names = [path.name for path in (Path(__file__).parents[2] / "dockercni" / "systemd").glob("*.[st]*[!s]")]
    done = served.run("systemd-analyze", "verify", "--man=no", *names, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    said = served.run("systemd-analyze", "security", "--no-pager", UNIT).stdout
    found = re.search(r"Overall exposure level.*: ([0-9.]+)", said)
    assert found, said
    with capsys.disabled():
        print(f"\n{found[0]}")  # noqa: T201  the score is for whoever reads the test's output
    assert float(found[1]) <= 6.5


def test_the_engine_is_restarted(served: Machine) -> None:
    """The daemon outlives the engine; containers that it starts again have their network at their first instruction."""
    served.web("web", 8080, "--restart=always")
    wait_web(served, 8080)
    pid = served.unit(UNIT, "MainPID")
    served.run("systemctl", "restart", "docker")
    wait_web(served, 8080)
    assert served.unit(UNIT, "MainPID") == pid
    wait_until(
        lambda: served.first_words("web").count("inet 10.") == 2,
        20,
        "both starts with an address",
        lambda: served.first_words("web"),
    )


def test_a_boot(served: Machine) -> None:
    """Engine and daemon start together: all that the engine starts has its network at its first instruction.

    Labels have to be read for that, and those of the image are not to be had while the engine starts.
    """
    names = [f"web{number}" for number in range(8)]
    for number, name in enumerate(names):
        served.web(name, 8080 + number, "--restart=always", *(["--label=team=net"] if number % 2 else []))
    for number in range(8):
        wait_web(served, 8080 + number)
    served.run("systemctl", "stop", "docker.socket", "docker", "dockercni")
    served.run("systemctl", "start", "docker", "dockercni")

    def told(words: str) -> list[int]:
        return [len(re.findall(words, served.first_words(name))) for name in names]

    wait_until(lambda: told("inet 10.|can't find device") == [2] * 8, 60, "two starts each", served.journal)
    assert told("inet 10.") == [2] * 8


def test_the_daemon_is_restarted(served: Machine) -> None:
    """Containers keep their link over a restart, and one that starts afterwards is served."""
    served.web("web", 8080)
    wait_web(served, 8080)
    before = served.run("docker", "exec", "web", "ip", "-o", "link").stdout
    served.run("systemctl", "restart", "dockercni")
    assert served.answers(8080)
    served.web("next", 8081)
    wait_web(served, 8081)
    assert served.run("docker", "exec", "web", "ip", "-o", "link").stdout == before
    assert "inet 10." in served.first_words("next")


def test_a_killed_daemon_comes_back(served: Machine) -> None:
    """After SIGKILL systemd starts it again, and what was started and removed meanwhile is put right."""
    served.web("web", 8080)
    wait_web(served, 8080)
    restarts = int(served.unit(UNIT, "NRestarts"))
    served.shell("kill -KILL $(systemctl show --property=MainPID --value dockercni); docker rm --force web")
    served.web("next", 8081)
    wait_renewed(served, restarts, 20)
    wait_web(served, 8081)
    wait_until(lambda: len(served.shell("ls /run/netns").split()) == 1, 20, "one pin", served.journal)


def test_a_stopped_daemon_is_noticed(served: Machine) -> None:
    """The watchdog ends a daemon that is not dead but does nothing, and the next one serves."""
    restarts = int(served.unit(UNIT, "NRestarts"))
    served.shell("kill -STOP $(systemctl show --property=MainPID --value dockercni)")
    wait_renewed(served, restarts, 60)
    assert "Watchdog timeout" in served.journal()
    served.web("web", 8080)
    wait_web(served, 8080)


def test_settings_are_reloaded(served: Machine) -> None:
    """`systemctl reload` takes the settings over without a restart; broken ones are logged and change nothing."""
    pid = served.unit(UNIT, "MainPID")
    served.shell("echo 'attach = \"labelled\"' >> /etc/dockercni/dockercni.toml; systemctl reload dockercni")
    wait_until(lambda: "setting changed" in served.journal(), 10, "the new setting", served.journal)
    served.web("not", 8080)
    served.web("web", 8081, "--label=dockercni.networks=dockercni")
    wait_web(served, 8081)
    assert served.address_of("not") == ""
    served.shell("echo nonsense >> /etc/dockercni/dockercni.toml; systemctl reload dockercni")
    wait_until(lambda: "settings not reloaded" in served.journal(), 10, "the complaint", served.journal)
    assert (served.unit(UNIT, "MainPID"), active(served)) == (pid, True)


def test_an_upgrade_touches_no_container(machine: Machine, older_deb: Path, deb: Path) -> None:
    """The newer daemon goes on with what the older one recorded: the link stays, and is taken back in the end."""
    machine.run("apt-get", "install", "--yes", machine.put(older_deb))
    machine.web("web", 8080)
    wait_web(machine, 8080)
    before = machine.run("docker", "exec", "web", "ip", "-o", "link").stdout
    machine.shell("echo 'workers = 4' >> /etc/dockercni/dockercni.toml")
    assert machine.run("dockercni", "version").stdout.count(OLDER) == 1
    machine.run("apt-get", "install", "--yes", machine.put(deb))
    assert OLDER not in machine.run("dockercni", "version").stdout
    assert active(machine)
    assert machine.answers(8080)
    assert machine.run("docker", "exec", "web", "ip", "-o", "link").stdout == before
    assert "workers = 4" in machine.shell("cat /etc/dockercni/dockercni.toml")
    machine.docker("rm", "--force", "web")
    wait_until(lambda: not machine.shell("ls /run/netns"), 20, "the pin's end", machine.journal)


def test_a_purge_touches_no_container(served: Machine) -> None:
    """What runs keeps its network; the package's files, settings and state are gone; an install goes on from there."""
    served.web("web", 8080)
    wait_web(served, 8080)
    done = served.run("apt-get", "purge", "--yes", "dockercni")
    assert "1 containers keep their networks" in done.stdout
    assert served.answers(8080)
    left = {line for line in served.traces() if "dockercni" in line}
    assert not {line for line in left if line.startswith(("/etc", "/usr", "/var/lib/dockercni", "/var/lib/systemd"))}


def test_uninstall_and_purge_leave_no_trace(machine: Machine, deb: Path) -> None:
    """`dockercni uninstall`, then purge: every network given back, and the host as it was before."""
    machine.docker("network", "prune", "--force")
    before = machine.traces()
    machine.run("apt-get", "install", "--yes", machine.put(deb))
    machine.web("web", 8080)
    wait_web(machine, 8080)
    assert before != machine.traces()
    said = machine.run("dockercni", "uninstall").stdout
    assert "give back the networks of web\n" in said
    machine.run("apt-get", "purge", "--yes", "dockercni")
    assert machine.traces() - before == set()
    assert machine.address_of("web") == ""
