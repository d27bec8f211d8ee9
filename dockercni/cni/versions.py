"""The versions of the CNI specification, and what came with which."""

from __future__ import annotations

import re
from enum import Enum, auto

from dockercni.cni.errors import VersionError

KNOWN = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")  # ascending
OLDEST = KNOWN[0]  # what a configuration without cniVersion means
CURRENT = KNOWN[-1]

_VERSION = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9}))?(?:\.([0-9]{1,9}))?")


class Feature(Enum):
    """Features that not every version of the protocol has."""

    CHECK = auto()
    PREV_RESULT_ON_DEL = auto()
    GC = auto()
    STATUS = auto()


_SINCE = {
    Feature.CHECK: (0, 4, 0),
    Feature.PREV_RESULT_ON_DEL: (0, 4, 0),
    Feature.GC: (1, 1, 0),
    Feature.STATUS: (1, 1, 0),
}


def parse(version: str) -> tuple[int, int, int]:
    """Return (major, minor, micro); "" is 0.1.0 and missing parts are 0, as in libcni. Raises VersionError."""
    match = _VERSION.fullmatch(version or OLDEST)
    if match is None:
        raise VersionError("malformed CNI version", ascii(version))
    major, minor, micro = (int(part or 0) for part in match.groups())
    return major, minor, micro


def supports(version: str, feature: Feature) -> bool:
    """Tell whether `version` of the protocol has `feature`. Raises VersionError."""
    return parse(version) >= _SINCE[feature]
