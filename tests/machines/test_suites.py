"""The project's own tests on newer engines: with systemd's cgroup driver, cgroup v2, and the Python that is there."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.machines import Machine

FAST = "not slow and not point and not install"
STORES = ("TEST_IMAGE_STORE=graph", "TEST_IMAGE_STORE=containerd")
SHIPPED = ("test_package.py", "test_pip.py", "test_sidecar.py")

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.parametrize("machine", ["trixie", "forky"], indirect=True, scope="module"),
]


def test_unit(machine: Machine) -> None:
    """The unit tests pass under its Python."""
    passes(machine, "-n2", "tests/unit")


@pytest.mark.short
@pytest.mark.parametrize("store", STORES)
def test_starts(machine: Machine, store: str) -> None:
    """Every way of starting finds the network at the first instruction."""
    passes(machine, "-n0", "-mslow", "tests/engine/test_every_start.py", env=(store,))


@pytest.mark.parametrize("store", STORES)
def test_engine(machine: Machine, store: str) -> None:
    """All that the tests expect of an engine holds."""
    passes(machine, "-n2", "--dist=worksteal", f"-m{FAST}", "tests/engine", env=(store,))


def test_starts_beside_nftables(machine: Machine) -> None:
    """Where the engine keeps its rules in nftables of its own (Docker 29 and later), every start finds its network,
    traffic passes, and networks are kept apart.
    """
    if "--firewall-backend" not in machine.run("dockerd", "--help").stdout:
        pytest.skip("this engine has no nftables backend")
    passes(machine, "-n0", "-mslow", "tests/engine/test_every_start.py", env=("TEST_FIREWALL=nftables",))
    chosen = ("test_forwarding.py", "test_healing.py", "test_networks.py", "test_published_ports.py")
    passes(machine, "-n2", f"-m{FAST}", *(f"tests/engine/{name}" for name in chosen), env=("TEST_FIREWALL=nftables",))


def test_shipped(machine: Machine) -> None:
    """The package and the wheel that are built there, and the sidecar, are installed, serve, and leave no trace."""
    passes(machine, "-n0", "-minstall", *(f"tests/install/{name}" for name in SHIPPED))


def test_boot_with_the_containerd_store(machine: Machine) -> None:
    """What the engine starts at a boot has its network, though the store answers questions about labels late."""
    passes(machine, "-n0", "-minstall", "tests/install/test_package.py", "-kboot", env=(STORES[1],))


def passes(machine: Machine, *arguments: str, env: tuple[str, ...] = ()) -> None:
    """Run tests there; what they print is the failure."""
    chosen = tuple(f"{name}={value}" for name, value in os.environ.items() if name == "TEST_STARTS")
    pytest_there = (".venv/bin/python", "-m", "pytest", "-q", *arguments)
    argv = machine.service(*pytest_there, env=("TEST_CGROUP_DRIVER=systemd", *chosen, *env))
    done = subprocess.run(
        [*machine.host.entry, *argv],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=machine.host.env,
    )
    assert done.returncode == 0, done.stdout
    print(done.stdout.splitlines()[-1])  # noqa: T201  how many, for whoever reads the output
