"""The quick start of the README, in a copy of the tree on a host with only Docker, Python and make."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engine.containers import ask, run, wait_attached, wait_clean
from tests.hosts import IMAGE, TREE, copy_tree, leftovers, peer_of, serve_tcp, wait_until

if TYPE_CHECKING:
    from tests.hosts import Host, Outside

START, SESSION = re.findall(
    r"^```console\n(.*?)^```$",
    (TREE / "README.md").read_text(encoding="utf-8").partition("\n## Quick start\n")[2].partition("\n## ")[0],
    re.MULTILINE | re.DOTALL,
)
# The host has no sudo, and a script is faster than whoever types.
AS_TYPED = """sudo() { "$@"; }
docker() { command docker "$@" && { [ "$1" != run ] || .venv/bin/dockercni status --wait=20s; }; }
"""


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
    """`make run`, the README's session and a few more questions; then a second `make run` is ready at once."""
    assert START == "sudo make run\n"
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
    host.docker("create", "--name=image", IMAGE, "busybox", "httpd", "-f", "-p", "80", "-h", "/www")
    host.docker("commit", "image", "nginx:alpine")  # nothing can be pulled here
    host.docker("rm", "image")
    done = host.run("sh", "-euxc", f"cd {tree}\n{AS_TYPED}{SESSION}", env=environment)
    assert re.search(r"inet 10\..* eth0$", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^web .*8080->80/tcp", done.stdout, re.MULTILINE), done.stdout
    host.docker("image", "rm", "nginx:alpine")
    wait_clean(host)
    assert not list(host.path("/etc/cni/net.d").iterdir())
    assert not list(host.path("/etc/dockercni").iterdir())
    program.stop()  # make hands the signal on, and then ends by it itself
    assert '"stopped"' in program.text()
    again = host.popen("make", "-C", str(tree), "run", env=environment)
    wait_until(lambda: '"ready"' in again.text() or not again.running, 20, "the daemon again", again.text)
    again.stop()
    assert leftovers(host) == []
