"""What `install` and `uninstall` would do. Pure."""

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
_PROGRAM: Final = "/usr/bin/dockercni"  # where the packages have it, and so the units


@dataclass(frozen=True, slots=True)
class Write:
    """A file, whole."""

    path: Path
    text: str

    @property
    def words(self) -> str:
        return f"write {self.path}"


@dataclass(frozen=True, slots=True)
class Remove:
    """A file, a directory with all that is in it, or with `empty` a directory only if nothing is in it."""

    path: Path
    empty: bool = False

    @property
    def words(self) -> str:
        return f"remove {self.path}{' if it is empty' if self.empty else ''}"


@dataclass(frozen=True, slots=True)
class Run:
    """A command of the service manager."""

    argv: tuple[str, ...]

    @property
    def words(self) -> str:
        return f"run {' '.join(self.argv)}"


@dataclass(frozen=True, slots=True)
class Note:
    """Nothing is done; this is only said."""

    words: str


Step = Write | Remove | Run | Note


@dataclass(frozen=True, slots=True)
class Found:
    """What is on the host: which of the units' names exist where we put them, the text of the settings file (None if
    there is none), whether systemd runs, and whether a package has installed the units."""

    units: frozenset[str]
    settings: str | None
    systemd: bool
    packaged: bool


def install(found: Found, program: Path, files: Mapping[str, str], example: str, *, timer: bool) -> Iterator[Step]:
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


def stop(found: Found, files: Mapping[str, str]) -> Iterator[Step]:
    """The first steps of uninstalling: nothing serves any more."""
    names = sorted(name for name in files if not name.endswith(".tmpfiles"))
    there = names if found.packaged else [name for name in names if name in found.units]
    if there and found.systemd:
        yield Run(("systemctl", "disable", "--now", *there))


def remove(found: Found, example: str, state: Path, run: Path, *, keep: bool) -> Iterator[Step]:
    """The last steps, when the networks were given back, or with `keep` are left as they are."""
    if found.units and not found.packaged:  # without units there was no install, as in a sidecar
        yield Remove(TMPFILES)
        if found.settings == example:
            yield Remove(DEFAULT_FILE)
            yield Remove(DEFAULT_FILE.parent, empty=True)
        elif found.settings is not None:
            yield Note(f"keep {DEFAULT_FILE}: it is not as install wrote it")
        for name in sorted(found.units):
            yield Remove(UNITS / name)
        if found.systemd:
            yield Run(("systemctl", "daemon-reload"))
    if keep:
        yield Note(f"keep {state}, {run} and the records: another install goes on with them")
    else:
        yield Remove(state)
        yield Remove(run)
    if found.packaged:
        yield Note("the rest belongs to the package: apt-get purge dockercni")
