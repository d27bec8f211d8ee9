"""The one table of differences that are allowed between the reference executables and our plugins.

A case names the rows that it expects, and fails if it does not meet one of them: no row outlives its reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

MISSING = "<missing>"


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. All three patterns have to match, whole, for a place at which the twins differ.

    `place` is a path such as `ADD 1.result.ips[0].address`, `leases.net/10.0.0.2`, `host.link.cni0.mtu`; `reference`
    and `ours` are patterns for the values as text, `<missing>` where there is none. `reason` says why it is right.
    """

    place: str
    reference: str
    ours: str
    reason: str

    def covers(self, place: str, reference: Any, ours: Any) -> bool:
        """Whether the row allows what was found at `place`."""
        pairs = ((self.place, place), (self.reference, reference), (self.ours, ours))
        return all(re.fullmatch(pattern, str(text), re.DOTALL) for pattern, text in pairs)


ALLOWED = {
    "lease-mode": Difference(
        r"leases\..*",
        r"644 .*",
        r"600 .*",
        "The installed 1.1.1 creates lease files readable by all; the reference's later versions use 0600, as we do.",
    ),
    "empty-dns": Difference(
        r".*\.dns",
        r"\{\}",
        MISSING,
        "The installed 1.1.1 prints an empty dns in results of 1.0.0; the reference's later versions leave it out.",
    ),
}

ALWAYS = ("lease-mode", "empty-dns")
"""Rows that any case may meet, because they come from the age of the installed executables."""


def flatten(value: Any, place: str = "") -> dict[str, Any]:
    """A tree as places and leaves; an empty list or object is a leaf."""
    if isinstance(value, dict) and value:
        children = [(f"{place}.{key}" if place else str(key), each) for key, each in value.items()]
    elif isinstance(value, list) and value:
        children = [(f"{place}[{index}]", each) for index, each in enumerate(value)]
    else:
        return {place: value}
    return {inner: leaf for name, child in children for inner, leaf in flatten(child, name).items()}


def found(reference: Any, ours: Any) -> list[tuple[str, Any, Any]]:
    """Where two trees differ: place, and the value on either side."""
    left, right = flatten(reference), flatten(ours)
    places = [*left, *(place for place in right if place not in left)]
    pairs = [(place, left.get(place, MISSING), right.get(place, MISSING)) for place in places]
    return [(place, one, other) for place, one, other in pairs if one != other]
