"""libcni's attachment cache: one file an attachment, in libcni's place and format, written ahead.

An entry appears before the first plugin runs, without a result, and is written anew after each plugin. libcni reads
such a file without complaint, and ignores the object in which ours keeps what libcni does not record. So whatever is
killed and whenever, enough stands here for a complete DEL.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from dockercni.cni import document
from dockercni.cni.errors import CacheError
from dockercni.cni.files import read_regular, replace_file

KIND: Final = "cniCacheV1"
SCHEMA: Final = 1  # of our own object; an entry with a higher one was written by a newer version


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One attachment as recorded.

    `config` is the network's conflist, whole; `result` what the plugins before `done` made of it, as printed. `served`
    names for each plugin of the list the engine that serves it. `owner` holds what the program that attached wants to
    know again later; it is None in entries of other runtimes, which have no `served` and `done` either.
    """

    network: str
    container_id: str
    ifname: str
    netns: str
    config: bytes
    args: tuple[tuple[str, str], ...] = ()
    capability_args: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] | None = None
    served: tuple[str, ...] = ()
    done: int = 0
    owner: Mapping[str, str] | None = None

    @property
    def complete(self) -> bool:
        """Whether ADD got through the whole list."""
        return self.result is not None and self.done == len(self.served)

    @property
    def file_name(self) -> str:
        """libcni's name for it. Its parts may hold "-" themselves, so it is never taken apart again."""
        return f"{self.network}-{self.container_id}-{self.ifname}"


class Cache:
    """The cache in `directory` (libcni's default: /var/lib/cni).

    Each write is atomic. Thread-safe for different attachments; for one attachment the caller serialises, as the CNI
    specification demands of runtimes anyway.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._results = directory / "results"

    def write(self, entry: CacheEntry, *, new: bool = False) -> None:
        """Record `entry`; with `new`, refuse if a file of that name is there. Raises CacheError."""
        path = self._results / entry.file_name
        try:
            self._results.mkdir(mode=0o700, parents=True, exist_ok=True)
            if new and os.path.lexists(path):
                raise CacheError(
                    f"{path} exists: container {entry.container_id} is attached to network {entry.network} as "
                    f"{entry.ifname} already, or another runtime did not clean up"
                )
            # the temporary file stands outside results/, where libcni would read it
            replace_file(path, _encode(entry), scratch=self.directory, prefix=_PREFIX)
        except OSError as error:
            raise CacheError(f"cannot write {path}: {error.strerror}") from error

    def remove(self, entry: CacheEntry) -> None:
        """Forget `entry`. Already gone is success. Raises CacheError."""
        path = self._results / entry.file_name
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise CacheError(f"cannot remove {path}: {error.strerror}") from error

    def read(self, network: str, container_id: str, ifname: str) -> CacheEntry | None:
        """The entry of this attachment; None when there is none. Raises CacheError when it cannot be read."""
        name = f"{network}-{container_id}-{ifname}"
        if "/" in name or "\0" in name:
            return None
        entry = self._load(name)
        if entry and (entry.network, entry.container_id, entry.ifname) != (network, container_id, ifname):
            return None  # another attachment whose parts add up to the same file name
        return entry

    def entries(self, container_id: str = "") -> Iterator[CacheEntry | CacheError]:
        """Every entry (of one container), by file name; for a file that cannot be read, the error that says why."""
        try:
            names = sorted(os.listdir(self._results))
        except FileNotFoundError:
            return
        for name in names:
            if container_id and f"-{container_id}-" not in name:
                continue
            try:
                entry = self._load(name)
            except CacheError as error:
                yield error
                continue
            if entry and (not container_id or entry.container_id == container_id):
                yield entry

    def sweep(self) -> None:
        """Remove what writers that were killed left behind. Only while nobody writes."""
        for leftover in self.directory.glob(f"{_PREFIX}*"):
            leftover.unlink(missing_ok=True)

    def _load(self, name: str) -> CacheEntry | None:
        path = self._results / name
        try:
            data = read_regular(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CacheError(f"cannot read {path}: {error.strerror}") from error
        try:
            return _decode(data)
        except (document.DocumentError, msgspec.ValidationError, binascii.Error) as error:
            raise CacheError(f"{path} is not a cache entry: {error}") from error
        except CacheError as error:
            raise CacheError(f"{path} cannot be used: {error}") from error


class _Ours(msgspec.Struct, frozen=True):
    schema: int
    served: tuple[str, ...]
    done: int
    owner: dict[str, str]


class _Stored(msgspec.Struct, frozen=True, omit_defaults=True):
    kind: str
    containerId: str  # noqa: N815  libcni's name of the key
    config: str
    ifName: str  # noqa: N815
    networkName: str  # noqa: N815
    netns: str = ""
    cniArgs: tuple[tuple[str, str], ...] | None = None  # noqa: N815
    capabilityArgs: dict[str, Any] | None = None  # noqa: N815
    result: dict[str, Any] | None = None
    dockercni: _Ours | None = None


# msgspec learns a type at its first use, and crashes if two threads make it do so at once: so it learns it here
msgspec.json.Decoder(_Stored)

_PREFIX: Final = ".cache-entry-"


def _encode(entry: CacheEntry) -> bytes:
    ours = _Ours(SCHEMA, entry.served, entry.done, dict(entry.owner)) if entry.owner is not None else None
    stored = _Stored(
        kind=KIND,
        containerId=entry.container_id,
        config=base64.b64encode(entry.config).decode("ascii"),
        ifName=entry.ifname,
        networkName=entry.network,
        netns=entry.netns,
        cniArgs=entry.args or None,
        capabilityArgs=dict(entry.capability_args) or None,
        result=dict(entry.result) if entry.result is not None else None,
        dockercni=ours,
    )
    return document.encode(msgspec.to_builtins(stored))


def _decode(data: bytes) -> CacheEntry:
    stored = msgspec.convert(document.decode(data), _Stored)
    if stored.kind != KIND:
        raise CacheError(f'kind is "{stored.kind}", not "{KIND}"')
    ours = stored.dockercni
    if ours and ours.schema > SCHEMA:
        raise CacheError(f"it was written by a newer version (schema {ours.schema}; this one knows {SCHEMA})")
    return CacheEntry(
        network=stored.networkName,
        container_id=stored.containerId,
        ifname=stored.ifName,
        netns=stored.netns,
        config=base64.b64decode(stored.config, validate=True),
        args=stored.cniArgs or (),
        capability_args=stored.capabilityArgs or {},
        result=stored.result,
        served=ours.served if ours else (),
        done=ours.done if ours else 0,
        owner=ours.owner if ours else None,
    )
