"""What is shipped, built once, and fresh machines to install it on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.hosts import TREE as ROOT
from tests.hosts import Host, copy_tree, import_image
from tests.hosts.engine import OVERLAY, USES_CONTAINERD_STORE
from tests.machines import Machine, release

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

MACHINES = pytest.StashKey["list[Machine]"]()
OLDER = "0.0.1"
STORE = '{"features": {"containerd-snapshotter": true}}'


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is left to `make test-install`."""
    for item in items:
        if item.path.is_relative_to(ROOT / "tests" / "install"):
            item.add_marker(pytest.mark.install)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory for large files; nothing of it is kept."""
    directory = tmp_path_factory.mktemp("install")
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def dist(scratch: Path) -> Path:
    """What `make dist` makes: wheel, source distribution and Debian package."""
    output = scratch / "dist"
    _command(str(ROOT / "scripts" / "dist.sh"), str(output))
    return output


@pytest.fixture(scope="session")
def deb(dist: Path) -> Path:
    """The Debian package."""
    (package,) = dist.glob("*.deb")
    return package


@pytest.fixture(scope="session")
def older_deb(scratch: Path) -> Path:
    """The package of the last commit but one, as an older version; of this tree, where git has no history."""
    tree = scratch / "older"
    tree.mkdir()
    earlier = subprocess.run(
        ["git", "-C", str(ROOT), "show", "HEAD~1:scripts/deb.sh"], check=False, capture_output=True
    )
    if earlier.returncode == 0:
        _command("sh", "-c", f"git -C {ROOT} archive HEAD~1 | tar -x -C {tree}")
    else:
        copy_tree(ROOT, tree)
    file = tree / "dockercni" / "__init__.py"
    file.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{OLDER}"', file.read_text()))
    (tree / ".venv").symlink_to(ROOT / ".venv")
    _command(str(tree / "scripts" / "dist.sh"), str(scratch / "older-dist"))
    (package,) = (scratch / "older-dist").glob("*.deb")
    return package


@pytest.fixture(scope="session")
def wheels(dist: Path, scratch: Path) -> Path:
    """The wheel and all that it depends on, for hosts without a way to a package index."""
    directory = scratch / "wheels"
    (wheel,) = dist.glob("*.whl")
    _command(sys.executable, "-m", "pip", "download", "--quiet", f"--dest={directory}", str(wheel))
    return directory


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """The private host whose engine runs the machines, and the sidecar."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with Host() as started:
        started.start_engine(OVERLAY)
        import_image(started)
        yield started


@pytest.fixture
def boot(host: Host, request: pytest.FixtureRequest) -> Iterator[Callable[[], Machine]]:
    """Boot a fresh machine with the image of the tests in its engine."""
    booted = request.node.stash.setdefault(MACHINES, [])
    numbers = count(1)

    def start() -> Machine:
        machine = Machine(host, f"machine{next(numbers)}", release())
        booted.append(machine)
        if USES_CONTAINERD_STORE:
            machine.shell(f"mkdir -p /etc/docker; echo '{STORE}' > /etc/docker/daemon.json; systemctl restart docker")
        import_image(machine)
        return machine

    yield start
    for machine in booted:
        machine.close()


@pytest.fixture
def machine(boot: Callable[[], Machine]) -> Machine:
    """A fresh machine."""
    return boot()


@pytest.fixture
def served(machine: Machine, deb: Path) -> Machine:
    """A machine with the package installed, and its service running."""
    machine.run("apt-get", "install", "--yes", machine.put(deb))
    return machine


def _command(*argv: str) -> None:
    done = subprocess.run(argv, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=500)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the services of the machines have logged with a test that failed."""
    report = yield
    if report.failed:
        for machine in item.stash.get(MACHINES, []):
            report.sections.append((f"journal of {machine.name}", machine.journal()[-8000:]))
    return report
