"""Reads a container's configuration from the engine's own files, which exist from `create` on.

`<data-root>/containers/<id>/config.v2.json` and `hostconfig.json` have what inspect would answer. Inspect itself waits
while the engine starts the container, because the engine holds the container's lock then; the files do not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from dockercni.docker.api import HostSide, Inspected, RunConfig, described, host_ip, mtu, vetted
from dockercni.docker.image_labels import Images, matter
from dockercni.errors import DockercniError, Retry
from dockercni.files import read_regular
from dockercni.model import Container

T = TypeVar("T")
MAX_BYTES: Final = 4 << 20  # bytes of one file
_ID: Final = re.compile(r"[0-9a-f]{64}")
_IMAGE: Final = re.compile(r"sha256:([0-9a-f]{64})")
_DRIVER: Final = re.compile(r"[a-z0-9-]+")


DAEMON_FILE: Final = Path("/etc/docker/daemon.json")


class FilesUnclear(DockercniError):
    """The engine's files of a container cannot be read or understood now."""

    retry = Retry.LATER


class _ContainerFile(msgspec.Struct):
    ID: str = ""
    Name: str = ""
    Image: str = ""
    Driver: str = ""
    Config: RunConfig = msgspec.field(default_factory=RunConfig)


class _DaemonFile(msgspec.Struct):
    ip: str = ""
    mtu: int = 0


class _ImageFile(msgspec.Struct):
    config: RunConfig | None = None


def defaults() -> tuple[str, int]:
    """`host_ip` and `mtu` of client.Engine by the engine's configuration file; ("", 0) where it says nothing."""
    try:
        said = _read(DAEMON_FILE, _DaemonFile)
    except (OSError, FilesUnclear):
        return "", 0
    return host_ip(said.ip), mtu(said.mtu)


@dataclass(frozen=True, slots=True)
class Files:
    """The files of the engine with the data root `root`. Reading them never waits for the engine.

    The labels of images in containerd's store are not among these files; `images` may know them.
    """

    root: Path
    trust_image_labels: bool
    images: Images

    def container(self, container_id: str) -> Container | None:
        """The container of that full id, as one that does not run; None where this engine has none.

        Its `image` is set where that image's labels are unknown, so they are still among its own. Raises FilesUnclear.
        """
        if not _ID.fullmatch(container_id):
            return None
        folder = self.root / "containers" / container_id
        try:
            file = _read(folder / "config.v2.json", _ContainerFile)
            host_config = _read(folder / "hostconfig.json", HostSide)
        except FileNotFoundError:
            return None
        if container_id != file.ID:
            raise FilesUnclear(f"{folder}/config.v2.json is that of another container")
        container = described(
            Inspected(file.ID, Name=file.Name, Image=file.Image, Config=file.Config, HostConfig=host_config)
        )
        if self.trust_image_labels or not matter(container.labels):
            return container
        labels = self._labels(file.Image, file.Driver)
        return replace(container, image=file.Image) if labels is None else vetted(container, labels)

    def _labels(self, image: str, driver: str) -> Mapping[str, str] | None:
        labels = self.images.known(image)
        if labels is None and (labels := self._stored_labels(image, driver)) is not None:
            self.images.learn(image, labels, keep=False)
        return labels

    def _stored_labels(self, image: str, driver: str) -> Mapping[str, str] | None:
        """By the engine's own image store; None for an image in containerd's store."""
        match = _IMAGE.fullmatch(image)
        if not match or not _DRIVER.fullmatch(driver):
            return None
        try:
            file = _read(self.root / "image" / driver / "imagedb/content/sha256" / match[1], _ImageFile)
        except FileNotFoundError:
            return None
        return (file.config and file.config.Labels) or {}


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(read_regular(path, MAX_BYTES), type=kind, strict=False)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FilesUnclear(f"cannot read {path}: {error.strerror}") from error
    except msgspec.DecodeError as error:  # half written, or of an unknown version of the engine
        raise FilesUnclear(f"cannot understand {path}: {error}") from error
