"""The commands of the documentation, run as they stand there: each section on a fresh host."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.hosts import IMAGE
from tests.install.conftest import ROOT

if TYPE_CHECKING:
    from tests.install.machine import Machine

BARE = "getting-started"  # the one page that begins on a host without dockercni
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sections() -> list[tuple[str, str, str]]:
    """Page, title and commands of every section that has some. What is marked console, not sh, cannot run here."""
    found = []
    for path in sorted((ROOT / "docs").glob("*.md")):
        for section in path.read_text(encoding="utf-8").split("\n## ")[1:]:
            title, commands = section.partition("\n")[0], "".join(_BLOCK.findall(section))
            found += [(path.stem, title, commands)] if commands else []
    return found


@pytest.mark.parametrize(
    ("page", "title", "commands"), [pytest.param(*one, id=f"{one[0]}: {one[1]}") for one in sections()]
)
def test_commands_of(page: str, title: str, commands: str, machine: Machine, deb: Path, wheels: Path) -> None:
    """Every command of the section succeeds, typed one after the other on a host that has what the page assumes."""
    web = machine.docker("create", IMAGE, "busybox", "httpd", "-f", "-p", "80", "-h", "/www")
    machine.docker("commit", web, "nginx:alpine")  # nothing can be pulled here
    machine.docker("rm", web)
    package = machine.put(deb)
    for wheel in wheels.iterdir():
        machine.put(wheel)
    if page != BARE:
        machine.run("apt-get", "install", "--yes", package)
    environment = ("PIP_NO_INDEX=1", "PIP_FIND_LINKS=/root")
    machine.run("/bin/bash", "-euxc", f"cd /root\n{AS_TYPED}\n{commands}", env=environment, timeout=300)


# Whoever types is slower than a script, for which docs/labels.md says the same.
AS_TYPED = """docker() {
    command docker "$@" || return
    case "$1" in run|start|restart) dockercni status --wait=20s >/dev/null || :; esac
}"""
