"""A whole machine with AppArmor and every controller: runc and crun, both image stores, and reboots."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.hosts import IMAGE, wait_until

if TYPE_CHECKING:
    from tests.emulated import Emulated

SINGLES = 8
LABELLED = 4
COMPOSED = 4
COUNT = SINGLES + LABELLED + COMPOSED
LONG = 1800  # seconds

# The shell does that itself, before it starts any other program: what the kernel says is of the first instructions.
FIRST = """
while read -r kind address; do
    case $kind$address in *.0) ;; "|--10."*) echo "address $address"; break;; esac
done < /proc/net/fib_trie
echo begun
exec sleep 86400
"""
COMPOSE = "/root/compose.json"
CONTROLLERS = {"cpu", "cpuset", "io", "memory", "pids"}
LIMITS = ("--memory=64m", "--cpus=0.5", "--pids-limit=50")
CRUN = "--runtime=crun"
CONFINED = {
    "plain": (),
    "crun": (CRUN,),
    "limited": LIMITS,
    "limited-crun": (*LIMITS, CRUN),
    "bound": ("--security-opt=no-new-privileges", "--cap-drop=ALL", "--read-only"),
    "privileged": ("--privileged",),
    "privileged-crun": ("--privileged", CRUN),
}


def test_confined(machine: Emulated) -> None:
    """Under AppArmor's and the controllers' limits a container has its network at its first instruction."""
    assert set(machine.shell("cat /sys/fs/cgroup/cgroup.controllers").split()) >= CONTROLLERS
    assert "docker-default" in json.loads(machine.shell("aa-status --json"))["profiles"]
    use(machine, "graph")
    for name, flags in CONFINED.items():
        run(machine, name, *flags)
    wait_until(lambda: lives(machine) == {1: len(CONFINED)}, LONG, "their lives", lambda: explain(machine))
    assert ready(machine) == len(CONFINED), explain(machine)
    for name in CONFINED:
        pid, container_id = machine.docker("inspect", "--format={{.State.Pid}} {{.Id}}", name).split()
        # Debian's own profile for crun, which allows everything, stays on the process beside Docker's.
        profile = machine.shell(f"cat /proc/{pid}/attr/current")
        assert ("docker-default" in profile) is (not name.startswith("privileged")), profile
        scope = f"/system.slice/docker-{container_id}.scope"
        below = "/container" if name.endswith("crun") else ""
        assert machine.shell(f"cat /proc/{pid}/cgroup") == f"0::{scope}{below}\n"
        if name.startswith("limited"):
            assert machine.shell(f"cat /sys/fs/cgroup{scope}/memory.max") == f"{64 << 20}\n"


@pytest.mark.parametrize("store", ["graph", "containerd"])
def test_reboot(machine: Emulated, store: str) -> None:
    """Sixteen containers that the engine starts again after a reboot have their network at their first instruction.

    Every other one is run by crun.
    """
    use(machine, store)
    start_all(machine)
    wait_until(lambda: lives(machine) == {1: COUNT}, LONG, "their first life", lambda: explain(machine))
    assert ready(machine) == COUNT, explain(machine)
    machine.reboot()
    wait_until(lambda: lives(machine) == {2: COUNT}, LONG, "their second life", lambda: explain(machine))
    assert ready(machine) == 2 * COUNT, explain(machine)


def use(machine: Emulated, store: str) -> None:
    """Configure the engine, and take away what an earlier test has left."""
    machine.shell("docker ps --all --quiet | xargs --no-run-if-empty docker rm --force")
    configuration = {
        "features": {"containerd-snapshotter": store == "containerd"},
        "runtimes": {"crun": {"path": "/usr/bin/crun"}},
    }
    machine.put("/etc/docker/daemon.json", json.dumps(configuration))
    machine.shell("systemctl restart docker; docker load --input /root/image.tar")


def start_all(machine: Emulated) -> None:
    """Start them: some plain, some with labels, some of Compose, all with the policy `always`."""
    for number in range(SINGLES + LABELLED):
        label = ["--label=com.example.team=net"] if number >= SINGLES else []
        run(machine, f"one{number}", "--restart=always", f"--runtime={runtime(number)}", *label)
    command = ["sh", "-c", FIRST.replace("$", "$$")]
    service = {"image": IMAGE, "network_mode": "none", "restart": "always", "command": command}
    services = {f"two{number}": {**service, "runtime": runtime(number)} for number in range(COMPOSED)}
    machine.put(COMPOSE, json.dumps({"services": services}))
    machine.run("docker-compose", f"--file={COMPOSE}", "--project-name=all", "up", "--detach")


def runtime(number: int) -> str:
    """Every other container's is crun."""
    return "crun" if number % 2 else "runc"


def run(machine: Emulated, name: str, *flags: str) -> None:
    """Start one that says first whether it has an address."""
    machine.docker("run", "--detach", f"--name={name}", "--network=none", *flags, IMAGE, "sh", "-c", FIRST)


def outputs(machine: Emulated) -> list[str]:
    """What each container has said so far; the engine is not asked, since it has enough to do."""
    script = """
    for one in /var/lib/docker/containers/*; do
        echo "container ${one##*/}"
        cat $one/*-json.log 2>/dev/null || :
    done"""
    said: list[str] = []
    for line in machine.shell(script).splitlines():
        if line.startswith("container "):
            said.append("")
        else:
            said[-1] += json.loads(line)["log"]
    return said


def lives(machine: Emulated) -> dict[int, int]:
    """How many containers have begun how often."""
    begun = [len(re.findall(r"^begun$", text, re.MULTILINE)) for text in outputs(machine)]
    return {count: begun.count(count) for count in begun}


def ready(machine: Emulated) -> int:
    """How often a container had an address when it began."""
    return sum(len(re.findall(r"^address 10\.\S+\nbegun$", text, re.MULTILINE)) for text in outputs(machine))


def explain(machine: Emulated) -> str:
    """What containers, daemon and engine have said."""
    return "\n".join([str(outputs(machine)), machine.journal()[-16000:], machine.journal("docker")[-3000:]])
