"""Debian roots, made by debootstrap: what is on a fresh host, and the base of the sidecar.

Making one downloads several hundred packages and takes minutes, so roots are kept in a directory outside of the tree,
and made again only when the list of their packages changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.hosts import TREE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SYSTEM = platform.freedesktop_os_release()
HERE = SYSTEM["VERSION_CODENAME"]
MIRROR = "http://deb.debian.org/debian"
PACKAGES = (
    "busybox-static",
    "ca-certificates",
    "containernetworking-plugins",
    "curl",
    "dbus",
    "docker.io",
    "iproute2",
    "iptables",
    "nftables",
    "procps",
    "python3-pip",
    "python3-venv",
    "systemd",
    "systemd-sysv",
)
DOCKER_CLI = "docker-cli"  # a package of its own since Debian 13
# What the tests of this tree need in addition, where they run inside.
FOR_TESTS = ("bind9-dnsutils", "conntrack", "crun", "dnsmasq-base", "docker-compose", "make", "udev")
# Nothing of it is looked at by any test.
LEFT_OUT = ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/locale", "usr/share/man")


@dataclass(frozen=True, slots=True)
class Release:
    """A release of a distribution, as a host of the tests has it."""

    name: str
    packages: tuple[str, ...]
    cgroups: int  # the version that the host mounts
    components: str = "main"
    script: str = ""  # debootstrap's, where it does not know the release yet

    def root(self) -> Path:
        """Its root directory, which is only to be read."""
        packages = sorted(self.packages)
        return keep(f"root-{self.name}", packages, self._debootstrap)

    def wheels(self) -> Path:
        """All that a virtual environment of this project needs, for its Python: hosts have no way to an index."""
        python = (self.root() / "usr/bin/python3").readlink().name.removeprefix("python")
        project = tomllib.loads((TREE / "pyproject.toml").read_text(encoding="utf-8"))
        wanted = [
            *project["project"]["dependencies"],
            *project["project"]["optional-dependencies"]["dev"],
            *project["build-system"]["requires"],
            "editables",  # which hatchling asks for when the tree is installed in place
        ]

        def download(directory: Path) -> None:
            pip = (sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:")
            run(*pip, f"--python-version={python}", f"--dest={directory}", *wanted)

        return keep(f"wheels-{python}", wanted, download)

    def _debootstrap(self, directory: Path) -> None:
        options = ("--variant=minbase", f"--components={self.components}", f"--include={','.join(self.packages)}")
        script = (MIRROR, f"/usr/share/debootstrap/scripts/{self.script}") if self.script else ()
        run("debootstrap", *options, self.name, str(directory), *script)
        for path in LEFT_OUT:
            shutil.rmtree(directory / path)
            (directory / path).mkdir()


# The version of cgroups that this machine's private hosts share with it.
CGROUPS = 2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1
RELEASES = (
    Release("bookworm", PACKAGES, CGROUPS),
    # Docker 26.1, containerd 1.7, runc 1.1, Python 3.13.
    Release("trixie", (*PACKAGES, DOCKER_CLI, *FOR_TESTS), cgroups=2),
    # Docker 28.5, containerd 2.1, runc 1.3, Python 3.14; debootstrap of Debian 12 does not know it.
    Release("forky", (*PACKAGES, DOCKER_CLI, *FOR_TESTS), cgroups=2, script="sid"),
)


def release(name: str = HERE) -> Release:
    """A release by its name; without one, this machine's own."""
    if SYSTEM["ID"] == "ubuntu" and name == HERE:
        return Release(HERE, PACKAGES, CGROUPS, components="main,universe")
    return next(one for one in RELEASES if one.name == name)


def kept() -> Path:
    """The directory of what is kept."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("KEEP") or home / "dockercni-tests")


def keep(name: str, wanted: list[str], make: Callable[[Path], None]) -> Path:
    """A directory from an earlier run; made, if what is wanted in it has changed."""
    key = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:12]
    directory = kept() / f"{name}-{key}"
    if directory.exists():
        return directory
    kept().mkdir(parents=True, exist_ok=True)
    with _alone(kept() / f"{name}.lock"):
        if not directory.exists():
            partial = directory.with_name(f"{directory.name}.partial")
            if partial.exists():
                shutil.rmtree(partial)
            make(partial)
            partial.rename(directory)
    return directory


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Whoever wants the same meanwhile waits, and finds it made."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(*argv: str) -> None:
    """Run a program; what it says is the failure."""
    done = subprocess.run(argv, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1200)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout[-4000:]}"
