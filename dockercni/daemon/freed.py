"""Retries what failed for lack of something, when that may have become free.

What can be lacking is visible in directories: leases, recorded attachments (with their ports and names), configurations
and plugins. After any change they are read as a whole, once it is quiet. What a failing ADD took and returned does not
count: it would cause the next try, for ever.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from dockercni.files import read_regular
from dockercni.linux.inotify import Directories
from dockercni.reconcile import host_local_leases
from dockercni.reconcile.networks import Catalogue

_MAX_LEASE: Final = 4096  # bytes of a lease
_QUIET: Final = 0.05  # seconds without a change
_PAUSE: Final = 10.0  # seconds: for directories that are created later, and for machines without inotify

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _State:
    """What the directories show: the configurations, the plugins, and what is taken, each path with its owner.

    An owner begins with NETWORK-CONTAINER: for an attachment it is the name of its file, for a lease it is composed.
    """

    catalogue: object
    taken: Mapping[str, str]
    plugins: frozenset[str]


class Freed:
    """Watches the directories of the settings, and those of the leases of all networks in the catalogue."""

    def __init__(self, catalogue: Callable[[], Catalogue], conf: Path, cache: Path, bin_dirs: Iterable[Path]) -> None:
        self._catalogue = catalogue
        self._conf = conf
        self._results = cache / "results"
        self._bin_dirs = list(bin_dirs)

    def run(
        self,
        freed: Callable[[str], None],
        failing: Callable[[], Collection[str]],
        lost: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Call `freed` with the reason whenever something may have become free, also at the beginning.

        `failing` returns the ADDs that fail, as NETWORK-CONTAINER. `lost` is called with the id of a container whose
        lease is gone while its attachment is still recorded. Never returns. Raises OSError.
        """
        watch, problem = Directories(), ""
        try:
            watch.watch(self._places())
            before = self._state({})
            freed("free addresses and ports are watched from now on")
            while True:
                if watch.problem != problem:
                    problem = watch.problem
                    if problem:
                        log.warning("what is free is noticed late", reason=problem)
                    else:
                        log.info("what is free is noticed at once again")
                watch.wait(_PAUSE, _QUIET)
                # New directories first, and only then the reading, so that no change is missed in between.
                watch.watch(self._places())
                after = self._state(before.taken)
                gone = self._lost(before, after)
                for container_id in gone.values():
                    lost(container_id)
                if reason := _why(before, after, {*failing(), *gone}):
                    freed(reason)
                before = after
        finally:
            watch.close()

    def _state(self, known: Mapping[str, str]) -> _State:
        taken = {path: known.get(path) or self._whose(path) for path in _paths(self._taken())}
        return _State(self._catalogue(), taken, frozenset(_paths(self._bin_dirs)))

    def _lost(self, before: _State, after: _State) -> dict[str, str]:
        """The owners (with container ids) whose leases are gone, but not their records; briefly so in each DEL."""
        recorded = [os.path.basename(path) for path in after.taken if os.path.dirname(path) == str(self._results)]
        gone = {whose: path for path, whose in before.taken.items() if whose and path not in after.taken}
        return {
            whose: whose.removeprefix(f"{os.path.basename(os.path.dirname(path))}-")
            for whose, path in gone.items()
            if any(name.startswith(f"{whose}-") for name in recorded)
        }

    def _whose(self, path: str) -> str:
        directory, name = os.path.split(path)
        if directory == str(self._results):
            return name
        try:
            return f"{os.path.basename(directory)}-{read_regular(path, _MAX_LEASE).decode().split()[0]}"
        except (OSError, ValueError, IndexError):  # gone again, or no lease
            return ""

    def _places(self) -> list[Path]:
        return [self._conf, *self._taken(), *self._bin_dirs]

    def _taken(self) -> list[Path]:
        """The directories of what is taken: attachments, and the leases of each network."""
        found = {self._results: None}
        for network in self._catalogue().networks:
            found.update((Path(each), None) for each in host_local_leases.directories(network, of_any_ipam=True))
        return list(found)


def _paths(directories: Iterable[Path]) -> Iterator[str]:
    for directory in directories:
        try:
            yield from (os.path.join(directory, name) for name in os.listdir(directory))
        except OSError:  # there is none yet
            continue


def _why(before: _State, after: _State, besides: Collection[str]) -> str:
    if before.catalogue is not after.catalogue:
        return "the configuration changed"
    gone = [whose for path, whose in before.taken.items() if path not in after.taken]
    if any(not whose.startswith(tuple(besides)) for whose in gone):
        return "something became free"
    return "a plugin was installed" if after.plugins - before.plugins else ""
