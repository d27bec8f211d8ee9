"""The machine that the tests of this folder share, with this tree installed as the documentation says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.emulated import APPARMOR, Emulated, make_image
from tests.emulated.image import HOME
from tests.hosts import TREE, copy_tree, wait_until, write_archive

if TYPE_CHECKING:
    from collections.abc import Iterator

# Everything is about thirty times slower than on the processor below, and more where that has other things to do.
SETTINGS = 'hold = "600s"\n'


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is left to `make test-machine`."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.machine)
            item.add_marker(pytest.mark.install)  # whoever leaves whole hosts out leaves this one out, too
            item.add_marker(pytest.mark.timeout(7200))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This tree, built."""
    tree, output = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    copy_tree(TREE, tree)
    argv = (sys.executable, "-m", "build", "--wheel", f"--outdir={output}", str(tree))
    done = subprocess.run(argv, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    (found,) = output.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def machine(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    """A machine whose kernel has AppArmor, with this tree installed and its service running."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    booted = Emulated(make_image(), tmp_path_factory.mktemp("machine"), *APPARMOR)
    try:
        install(booted, wheel, tmp_path_factory.mktemp("image"))
        yield booted
    finally:
        booted.close()


def install(machine: Emulated, wheel: Path, scratch: Path) -> None:
    """Copy in and install what is under test, and the image of the containers."""
    pip = (f"{HOME}/bin/pip", "install", "--quiet", "--no-index", "--no-deps")
    machine.run(*pip, machine.put(f"/root/{wheel.name}", wheel.read_bytes()))
    machine.put("/etc/dockercni/dockercni.toml", SETTINGS)
    machine.run(f"{HOME}/bin/dockercni", "install")
    wait_until(lambda: "ready" in machine.journal(), 900, "the daemon", machine.journal)
    write_archive(scratch / "image.tar")
    machine.put("/root/image.tar", (scratch / "image.tar").read_bytes())
