"""The steps of `install` and `uninstall`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dockercni.settings import DEFAULT_FILE

UNITS: Final = Path("/etc/systemd/system")
PACKAGED: Final = (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"))
TMPFILES: Final = Path("/etc/tmpfiles.d/dockercni.conf")
DAEMON: Final = ("dockercni.service",)
TIMER: Final = ("dockercni-sync.timer", "dockercni-firewall.service")
_PROGRAM: Final = "/usr/bin/dockercni"  # the path in the units, where packages install it


@dataclass(frozen=True, slots=True)
class Write:
    """Write a whole file."""

    path: Path
    text: str

    @property
    def line(self) -> str:
        return f"write {self.path}"


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a file, or a directory with its contents; with `empty` a directory only if it is empty."""

    path: Path
    empty: bool = False

    @property
    def line(self) -> str:
        return f"remove {self.path}{' if it is empty' if self.empty else ''}"


@dataclass(frozen=True, slots=True)
class Run:
    """Run a command of the service manager."""

    argv: tuple[str, ...]

    @property
    def line(self) -> str:
        return f"run {' '.join(self.argv)}"


@dataclass(frozen=True, slots=True)
class Note:
    """Do nothing, and print this line."""

    line: str


InstallStep = Write | Remove | Run | Note


@dataclass(frozen=True, slots=True)
class Found:
    """What is on the host: names of units that `install` wrote, text of the settings file (None if there is none),
    whether systemd runs, and whether a package has installed the units."""

    units: frozenset[str]
    settings: str | None
    systemd: bool
    packaged: bool


def install(
    found: Found, program: Path, files: Mapping[str, str], example: str, *, timer: bool
) -> Iterator[InstallStep]:
    """The steps; `files` are the units and dockercni.tmpfiles, by name, as the packages have them."""
    for name, text in sorted(files.items()):
        path = TMPFILES if name.endswith(".tmpfiles") else UNITS / name
        yield Write(path, text.replace(_PROGRAM, str(program)))
    if found.settings is None:
        yield Write(DEFAULT_FILE, example)
    else:
        yield Note(f"keep {DEFAULT_FILE}")
    wanted, other = (TIMER, DAEMON) if timer else (DAEMON, TIMER)
    if not found.systemd:
        yield Run(("systemctl", "enable", *wanted))
        yield Note("start nothing: systemd does not run here")
        return
    yield Run(("systemd-tmpfiles", "--create", str(TMPFILES)))
    yield Run(("systemctl", "daemon-reload"))
    yield Run(("systemctl", "disable", "--now", *other))
    yield Run(("systemctl", "enable", *wanted))
    yield Run(("systemctl", "restart", *wanted))


def stop(found: Found, files: Mapping[str, str]) -> Iterator[InstallStep]:
    """The first steps of uninstalling: stop the service."""
    names = sorted(name for name in files if not name.endswith(".tmpfiles"))
    there = names if found.packaged else [name for name in names if name in found.units]
    if there and found.systemd:
        yield Run(("systemctl", "disable", "--now", *there))


def remove(found: Found, example: str, state: Path, run: Path, *, keep: bool) -> Iterator[InstallStep]:
    """The last steps, after the containers were detached; with `keep`, state and records stay."""
    if found.units and not found.packaged:  # none: install was never run, as in a sidecar
        yield Remove(TMPFILES)
        if found.settings == example:
            yield Remove(DEFAULT_FILE)
            yield Remove(DEFAULT_FILE.parent, empty=True)
        elif found.settings is not None:
            yield Note(f"keep {DEFAULT_FILE}: it differs from the file that install writes")
        for name in sorted(found.units):
            yield Remove(UNITS / name)
        if found.systemd:
            yield Run(("systemctl", "daemon-reload"))
    if keep:
        yield Note(f"keep {state}, {run} and the records: the next install uses them")
    else:
        yield Remove(state)
        yield Remove(run)
    if found.packaged:
        yield Note("the rest belongs to the package: apt-get purge dockercni")
