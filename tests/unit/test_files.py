"""What the engine's files say of a container."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from dockercni.docker import data_root, image_labels
from dockercni.docker.data_root import Files, FilesUnclear
from dockercni.docker.image_labels import Images
from dockercni.model import Container, PublishedPort
from dockercni.reconcile.images import kept

if TYPE_CHECKING:
    from pathlib import Path

ID, IMAGE = "0" * 64, "1" * 64
LABELS = {"dockercni.ip": "10.0.0.1", "dockercni.mac": "02:00:00:00:00:01", "dockercni.enable": "false"}
OF_IMAGE = {"dockercni.mac": "02:00:00:00:00:01", "dockercni.enable": "false"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with one container and its image."""
    config = {"Labels": LABELS, "ExposedPorts": {"80/tcp": {}}}
    state = {"Running": True, "Pid": 7}  # what it was when the engine wrote the file last
    _write(
        tmp_path / "containers" / ID / "config.v2.json",
        {"ID": ID, "Name": "/web", "Image": f"sha256:{IMAGE}", "Driver": "vfs", "Config": config, "State": state},
    )
    host = {"NetworkMode": "none", "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}}
    _write(tmp_path / "containers" / ID / "hostconfig.json", host)
    _write(tmp_path / "image/vfs/imagedb/content/sha256" / IMAGE, {"config": {"Labels": OF_IMAGE}})
    return tmp_path


def test_described(root: Path) -> None:
    """Name, labels without the image's, network mode and ports are as inspect would say; that it runs is not said."""
    labels = {"dockercni.ip": "10.0.0.1", "dockercni.enable": "false"}
    port = PublishedPort(80, host_ports=range(8080, 8081))
    dropped = {"dockercni.mac": "02:00:00:00:00:01"}
    expected = Container(ID, "web", False, network_mode="none", labels=labels, ports=(port,), dropped=dropped)
    assert Files(root, False, Images()).container(ID) == expected


def test_trusted_image(root: Path) -> None:
    """With trusted images all labels count."""
    container = Files(root, True, Images()).container(ID)
    assert container
    assert container.labels == LABELS


def test_image_elsewhere(root: Path) -> None:
    """Nobody is asked for the labels of an image that these files do not have: the container says so, until they are
    known; a container without a label that could mean something does not mind."""
    (root / "image/vfs/imagedb/content/sha256" / IMAGE).unlink()
    known = Images()
    one = Files(root, False, known)
    container = one.container(ID)
    assert container
    assert (container.image, container.labels) == (f"sha256:{IMAGE}", LABELS)
    known.learn(f"sha256:{IMAGE}", OF_IMAGE, keep=False)
    container = one.container(ID)
    assert container
    assert (container.image, set(container.labels)) == ("", {"dockercni.ip", "dockercni.enable"})
    path = root / "containers" / ID / "config.v2.json"
    path.write_text(path.read_text().replace("dockercni", "com.docker.compose"))
    container = Files(root, False, Images()).container(ID)
    assert container
    assert container.image == ""


def test_images_are_kept(tmp_path: Path) -> None:
    """What is known of images is known to the next run, but nothing endless; a damaged file is as good as none."""
    one = kept(tmp_path)
    one.learn("sha256:1", {"dockercni.ip": "10.0.0.1", "other": "x"}, keep=True)
    one.learn("sha256:2", {"dockercni.ip": "x" * 100_000}, keep=True)
    one.learn("sha256:3", {}, keep=True)
    again = kept(tmp_path)
    assert again.known("sha256:1") == {"dockercni.ip": "10.0.0.1"}
    assert again.known("sha256:2") is None
    assert again.known("sha256:3") == {}
    for number in range(image_labels.MAX_IMAGES):
        again.learn(f"sha256:x{number}", {}, keep=False)
    assert again.known("sha256:1") is None
    (tmp_path / "images.json").write_text("{")
    assert kept(tmp_path).known("sha256:3") is None


@pytest.mark.parametrize("name", ["2" * 64, "../../etc", "short", ID.upper() + "x"])
def test_unknown(root: Path, name: str) -> None:
    """What is no container of this engine is nothing."""
    assert Files(root, False, Images()).container(name) is None


@pytest.mark.parametrize("content", ["", '{"ID": "', "[]", '{"ID": 7}', '{"ID": "x"}', "\0" * 10])
def test_torn(root: Path, content: str) -> None:
    """A file that is half written or of an unknown kind is unclear, and may be clear later."""
    (root / "containers" / ID / "config.v2.json").write_text(content)
    with pytest.raises(FilesUnclear) as caught:
        Files(root, False, Images()).container(ID)
    assert caught.value.retry


def test_link(root: Path) -> None:
    """A symbolic link is not followed."""
    path = root / "containers" / ID / "hostconfig.json"
    path.rename(root / "elsewhere")
    path.symlink_to(root / "elsewhere")
    with pytest.raises(FilesUnclear, match="cannot read"):
        Files(root, False, Images()).container(ID)


def test_fifo(root: Path) -> None:
    """A fifo that nobody writes to does not stop us."""
    path = root / "containers" / ID / "hostconfig.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(FilesUnclear, match="not a regular file"):
        Files(root, False, Images()).container(ID)


def test_too_large(root: Path) -> None:
    """A file without end is not read to the end."""
    with (root / "containers" / ID / "config.v2.json").open("ab") as file:
        file.truncate(data_root.MAX_BYTES + 1)
    with pytest.raises(FilesUnclear, match="larger than"):
        Files(root, False, Images()).container(ID)


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
