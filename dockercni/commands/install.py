"""`dockercni install [--timer] [--dry-run]`: make this program a service of systemd."""

import os
import sys
from pathlib import Path

from dockercni import render
from dockercni.commands.manual import toml
from dockercni.commands.setup import effects, plan
from dockercni.commands.table import DRIFT, Invocation
from dockercni.errors import DockercniError, NotRoot


class CannotInstall(DockercniError):
    """The program was not installed in a way that this command can work with."""


def run(invocation: Invocation) -> int:
    """Print one line for each step."""
    dry_run = invocation.args.dry_run
    if os.geteuid() != 0 and not dry_run:
        raise NotRoot("only root can install a service; try sudo")
    files = effects.files()
    found = effects.found(files)
    if found.packaged:
        raise CannotInstall("a package has installed the units already; run: systemctl enable --now dockercni")
    steps = plan.install(found, program(), files, toml.example(), timer=invocation.args.timer)
    for line in effects.done(steps, dry_run=dry_run):
        render.line(line)
    return DRIFT if dry_run else 0


def program() -> Path:
    """The console script of this program, which the units start. Raises CannotInstall."""
    path = Path(sys.executable).with_name("dockercni")
    if not path.is_file():
        raise CannotInstall(f"there is no {path}; install the program into a virtual environment first (pip install)")
    return path
