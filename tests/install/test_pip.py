"""The wheel on a host without a package for it: a virtual environment, `dockercni install`, `dockercni uninstall`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.hosts import wait_until
from tests.install.conftest import ROOT

if TYPE_CHECKING:
    from tests.install.machine import Machine

HOME = "/opt/dockercni"
PROGRAM = f"{HOME}/bin/dockercni"


@pytest.fixture
def with_program(machine: Machine, wheels: Path) -> Machine:
    """A machine where the program was installed by pip, and nothing else was done."""
    for wheel in wheels.iterdir():
        machine.put(wheel)
    machine.run("python3", "-m", "venv", HOME)
    machine.run(f"{HOME}/bin/pip", "install", "--quiet", "--no-index", "--find-links=/root", "dockercni", timeout=300)
    return machine


def test_as_a_service(with_program: Machine) -> None:
    """install says what it will do, makes the service and starts it; uninstall gives every network back, and itself."""
    machine = with_program
    before = machine.traces()
    planned = machine.run(PROGRAM, "install", "--dry-run", check=False)
    assert planned.returncode == 3
    assert machine.traces() == before
    done = machine.run(PROGRAM, "install").stdout.splitlines()
    assert [f"would {line}" for line in done] == planned.stdout.splitlines()
    machine.web("web", 8080)
    wait_until(lambda: machine.answers(8080), 30, "the port", machine.journal)
    assert "inet 10." in machine.first_words("web")
    assert machine.unit("dockercni.service", "UnitFileState") == "enabled"
    machine.run(PROGRAM, "install")
    assert machine.answers(8080)
    planned = machine.run(PROGRAM, "uninstall", "--dry-run", check=False)
    assert (planned.returncode, "would give back the networks of web" in planned.stdout) == (3, True)
    assert machine.answers(8080)
    machine.run(PROGRAM, "uninstall")
    assert machine.traces() - before == set()
    assert machine.address_of("web") == ""


def test_keep(with_program: Machine) -> None:
    """uninstall --keep leaves a container its network; the next install goes on with it, and takes it back."""
    machine = with_program
    before = machine.traces()
    machine.run(PROGRAM, "install")
    machine.web("web", 8080)
    wait_until(lambda: machine.answers(8080), 30, "the port", machine.journal)
    machine.run(PROGRAM, "uninstall", "--keep")
    assert machine.answers(8080)
    assert not machine.path("/etc/systemd/system/dockercni.service").exists()
    machine.run(PROGRAM, "install")
    assert machine.answers(8080)
    machine.docker("rm", "--force", "web")
    wait_until(lambda: not machine.shell("ls /run/netns"), 20, "the pin's end", machine.journal)
    machine.run(PROGRAM, "uninstall")
    assert machine.traces() - before == set()


def test_sync_alone(with_program: Machine) -> None:
    """Without any service: `dockercni sync` attaches what runs, takes back what is gone; uninstall leaves nothing."""
    machine = with_program
    before = machine.traces()
    machine.web("web", 8080)
    assert machine.run(PROGRAM, "sync").stdout.endswith("converged: 1 container, 1 attachment, 1 repaired\n")
    assert machine.answers(8080)
    machine.docker("rm", "--force", "web")
    assert machine.run(PROGRAM, "sync").stdout.endswith("converged: 0 containers, 0 attachments, 1 repaired\n")
    machine.web("web", 8080)
    machine.run(PROGRAM, "sync", "web")
    machine.run(PROGRAM, "uninstall")
    assert machine.traces() - before == set()
    assert machine.address_of("web") == ""


def test_the_timer(with_program: Machine) -> None:
    """install --timer attaches without a daemon, and puts rules back when the firewall is started anew."""
    machine = with_program
    machine.run(PROGRAM, "install", "--timer")
    machine.web("web", 8080)
    wait_until(lambda: machine.answers(8080), 60, "the port", lambda: machine.journal("dockercni-sync"))
    assert machine.unit("dockercni.service", "ActiveState") == "inactive"
    for verb in ("restart", "reload"):  # Debian's file begins with `flush ruleset`, which takes everybody's rules
        machine.run("systemctl", verb, "nftables")
        wait_until(lambda: published(machine), 30, f"the rules after a {verb}", lambda: machine.journal("dockercni-*"))


def published(machine: Machine) -> bool:
    """Whether the rules of port 8080 are there, and the unit that puts them back has done its work."""
    if machine.unit("dockercni-firewall.service", "ActiveState") != "active":
        return False
    return "8080" in machine.run("nft", "list", "table", "inet", "dockercni", check=False).stdout


def test_an_installed_wheel_passes_the_tests(dist: Path, scratch: Path) -> None:
    """What is in the wheel is the whole program: without the sources, the unit tests of commands and settings pass."""
    place = scratch / "installed"
    (wheel,) = dist.glob("*.whl")
    install = ["-m", "pip", "install", "--quiet", "--no-deps", f"--target={place / 'site'}", str(wheel)]
    subprocess.run([sys.executable, *install], check=True, capture_output=True)
    for name in ("tests", "docs", "pyproject.toml", *(page.name for page in ROOT.glob("*.md"))):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, place / name)
    origin = "import dockercni; print(dockercni.__file__)"
    environment = os.environ | {"PYTHONPATH": str(place / "site"), "PYTHONSAFEPATH": "1"}
    said = subprocess.run([sys.executable, "-c", origin], check=True, capture_output=True, text=True, env=environment)
    assert said.stdout.startswith(str(place))
    argv = [sys.executable, "-m", "pytest", "-q", "-n", "0", "tests/unit/commands", "tests/unit/test_settings.py"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environment, cwd=place, timeout=300)
    assert done.returncode == 0, done.stdout
