"""The state of an interface before the tuning plugin changed it, in the reference's file `<cid>_<if>.json`."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dockercni.cni import strict_json
from dockercni.cni.strict_json import DocumentError, Fields
from dockercni.files import read_regular

if TYPE_CHECKING:
    from dockercni.linux.links import Link
    from dockercni.plugins.tuning_conf import TuningConf

DIRECTORY: Final = "/run/cni/tuning"
_MAX_BYTES: Final = 4096  # bytes


def path(directory: str, container_id: str, ifname: str) -> Path:
    """Where the backup of an interface is. Both names must be valid, because they name the file."""
    return Path(directory or DIRECTORY, f"{container_id}_{ifname}.json")


def save(file: Path, conf: TuningConf, found: Link) -> None:
    """Save those parts of `found` that `conf` is going to change. Raises OSError."""
    state = {
        "mac": found.mac if conf.mac else None,
        "promisc": bool(found.promiscuous) if conf.promiscuous else None,
        "mtu": found.mtu if conf.mtu else None,
        "allmulti": found.all_multicast if conf.all_multicast is not None else None,
        "txQLen": found.queue if conf.queue is not None else None,
    }
    text = json.dumps({key: value for key, value in state.items() if value is not None}, indent=1)
    file.parent.mkdir(mode=0o600, parents=True, exist_ok=True)
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as opened:
        opened.write(text)


def load(file: Path) -> Fields | None:
    """What `save` wrote; None if there is nothing, or nothing that can be read."""
    try:
        return Fields.of(strict_json.decode(read_regular(file, _MAX_BYTES)))
    except (OSError, DocumentError):
        return None


def forget(file: Path) -> None:
    """Remove the backup. Already gone is success."""
    with contextlib.suppress(FileNotFoundError):
        file.unlink()
