"""Labels of images, kept in the state directory: the engine starts containers before it answers questions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from dockercni.docker.image_labels import Images, Labels
from dockercni.reconcile import state

_FILE: Final = "images.json"

log = structlog.get_logger()


def kept(directory: Path) -> Images:
    """What earlier runs learnt, and what this one will learn. A file that cannot be used counts as missing."""
    path = directory / _FILE

    def load() -> Mapping[str, Labels]:
        try:
            return state.read(path, dict[str, dict[str, str]], {})
        except state.StateError as error:
            log.warning("forgotten", reason=str(error))
            return {}

    def keep(labels: Mapping[str, Labels]) -> None:
        state.keep(path, labels)

    return Images(load, keep)
