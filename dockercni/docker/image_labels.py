"""A cache of image labels, as far as they concern us.

An image's id is a hash of its content, so its labels never change. They are kept across restarts because the engine
starts containers before its API answers. Thread-safe.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Final

MEANT: Final = ("dockercni.", "io.kubernetes.", "com.hashicorp.nomad.")
MAX_IMAGES: Final = 1024
_LONGEST: Final = 16384  # characters of one image's labels; longer ones are not kept across restarts

Labels = Mapping[str, str]


def matter(labels: Labels) -> bool:
    """Whether there is a label whose origin makes a difference."""
    return any(label.startswith(MEANT) for label in labels)


class Images:
    """The known labels by image id. `load` reads them at their first use; `keep` writes all that are to be kept."""

    def __init__(
        self,
        load: Callable[[], Mapping[str, Labels]] = dict,
        keep: Callable[[Mapping[str, Labels]], None] = lambda _: None,
    ) -> None:
        self._load = load
        self._keep = keep
        self._guard = threading.Lock()
        self._keeping = threading.Lock()  # a lock of its own, so that readers do not wait for a disk
        self._loaded: dict[str, Labels] | None = None

    def known(self, image: str) -> Labels | None:
        """The labels of an image that concern us; None if they are unknown."""
        with self._guard:
            return self._known().get(image)

    def learn(self, image: str, labels: Labels, *, keep: bool) -> None:
        """Remember the labels of an image; with `keep` across restarts."""
        with self._guard:
            known = self._known()
            known[image] = {key: value for key, value in labels.items() if key.startswith(MEANT)}
            while len(known) > MAX_IMAGES:
                del known[next(iter(known))]
        if keep:
            with self._keeping:
                with self._guard:
                    short = {one: of_one for one, of_one in self._known().items() if _length(of_one) <= _LONGEST}
                self._keep(short)

    def _known(self) -> dict[str, Labels]:
        if self._loaded is None:
            self._loaded = dict(self._load())
        return self._loaded


def _length(labels: Labels) -> int:
    return sum(len(key) + len(value) for key, value in labels.items())
