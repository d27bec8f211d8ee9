"""`make run`, the first command of the README, in a copy of the tree on a host with only Docker, Python and make."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import ask, run, wait_attached, wait_clean
from tests.hosts import TREE, copy_tree, leftovers, peer_of, serve_tcp, wait_until

if TYPE_CHECKING:
    from tests.hosts import Host, Outside


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what git would give to somebody who clones, changes that are not committed yet included."""
    copy = tmp_path / "dockercni"
    copy_tree(TREE, copy)
    return copy


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """The packages that pip needs, downloaded by the machine: the private host has no way to the internet."""
    project = tomllib.loads((TREE / "pyproject.toml").read_text())
    needed = [*project["build-system"]["requires"], "editables", *project["project"]["dependencies"]]
    directory = tmp_path / "wheels"
    argv = [sys.executable, "-m", "pip", "download", "--quiet", f"--dest={directory}", *needed]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return directory


@pytest.mark.timeout(240)
def test_session_of_the_readme(host: Host, outside: Outside, tree: Path, wheels: Path) -> None:
    """From a fresh copy: `make run`, a container, `curl`, `rm`; then a second `make run` is there at once."""
    environment = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PYTHON": str(Path(sys.executable).resolve()),
        "DOCKERCNI_LOG_FORMAT": "json",
    }
    run(host, "before")
    program = host.popen("make", "-C", str(tree), "run", env=environment)
    wait_until(lambda: '"ready"' in program.text() or not program.running, 200, "the daemon", program.text)
    assert program.running, program.text()
    wait_attached(host, "before")  # --attach-running
    run(host, "web", "--publish=8080:80", command=serve_tcp(80))
    inside = wait_attached(host, "web")
    assert inside in host.docker("exec", "web", "ip", "addr")
    assert peer_of(ask(outside, "tcp", outside.host_address, 8080)) == outside.address
    assert b"peer=" in ask(host, "tcp", "localhost", 8080)
    host.docker("rm", "--force", "web", "before")
    wait_clean(host)
    assert not list(host.path("/etc/cni/net.d").iterdir())
    assert not list(host.path("/etc/dockercni").iterdir())
    program.stop()  # make hands the signal on, and then ends by it itself
    assert '"stopped"' in program.text()
    again = host.popen("make", "-C", str(tree), "run", env=environment)
    wait_until(lambda: '"ready"' in again.text() or not again.running, 20, "the daemon again", again.text)
    again.stop()
    assert leftovers(host) == []
