"""The cgroups of a private host, on both versions of cgroups: thawed so that processes can end, then removed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def tops(name: str) -> list[Path]:
    """The directories of that name, one in each hierarchy (the root itself, where there is only one)."""
    places = [ROOT, *(entry for entry in ROOT.iterdir() if entry.is_dir())]
    return [top for place in places for top in (place / name, place / slice_path(name)) if top.is_dir()]


def slice_path(name: str) -> Path:
    """Where systemd has the slice of that name: each dash of it is a level."""
    words = name.split("-")
    return Path(*(f"{'-'.join(words[: count + 1])}.slice" for count in range(len(words))))


def thaw(name: str) -> None:
    """Let paused containers run, since on version 1 a frozen process does not even die."""
    for top in tops(name):
        for directory, _, files in os.walk(top):  # which does not mind those that go meanwhile
            if "freezer.state" in files:
                with contextlib.suppress(OSError):
                    Path(directory, "freezer.state").write_text("THAWED")


def remove(name: str) -> bool:
    """Remove them from the leaves up; whether all are gone."""
    for top in tops(name):
        for directory, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                Path(directory).rmdir()
    return not tops(name)
