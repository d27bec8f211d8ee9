"""The labels of images, as far as they can mean something to us: known from the first time that they were asked for.

An image's id is the hash of what it is made of, so its labels never change. They are kept from run to run, since the
engine starts containers before it answers. Thread-safe.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Final

MEANT: Final = ("dockercni.", "io.kubernetes.", "com.hashicorp.nomad.")
MOST: Final = 1024  # images
_LONGEST: Final = 16384  # characters of one image's labels; what is longer is not kept for the next run

Labels = Mapping[str, str]


def matter(labels: Labels) -> bool:
    """Whether there is a label whose origin makes a difference."""
    return any(label.startswith(MEANT) for label in labels)


class Images:
    """What is known of images. `load` is called once, when it is first needed; `keep` gets all that is to be kept."""

    def __init__(
        self,
        load: Callable[[], Mapping[str, Labels]] = dict,
        keep: Callable[[Mapping[str, Labels]], None] = lambda _: None,
    ) -> None:
        self._load = load
        self._keep = keep
        self._guard = threading.Lock()
        self._keeping = threading.Lock()  # apart, since whoever asks what is known must not wait for a disk
        self._loaded: dict[str, Labels] | None = None

    def known(self, image: str) -> Labels | None:
        """The labels of an image that can mean something, None if it was never asked for."""
        with self._guard:
            return self._known().get(image)

    def learn(self, image: str, labels: Labels, *, keep: bool) -> None:
        """The image has these labels; with `keep` the next run knows it, too."""
        with self._guard:
            known = self._known()
            known[image] = {key: value for key, value in labels.items() if key.startswith(MEANT)}
            while len(known) > MOST:
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
