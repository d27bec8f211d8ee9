"""Which keys of a configuration a plugin knows: `auto` leaves configurations with unknown keys to the executable."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_COMMON = frozenset({
    "type",
    "name",
    "cniversion",
    "capabilities",
    "runtimeconfig",
    "args",
    "dns",
    "ipam",
    "prevresult",
    "dockercni",
})  # fmt: skip
_RESERVED = "cni.dev/"
_COMMENTS = ("_", "x-", "//", "#")

NO_LIBRARY = "libnftables is not installed"
"""The one reason why a plugin cannot serve a configuration that is not about a key of it."""


def unknown(conf: Mapping[str, Any], known: Collection[str], place: str = "") -> str:
    """Say which keys of a plugin's object are neither `known` nor common to all plugins; "" if there are none.

    Keys match in any case, as in Go; a key with null counts as absent. The keys inside of `ipam` are the IPAM plugin's.
    """
    found = strangers(conf, known)
    return f"{place}{', '.join(found)} is not supported" if found else ""


def strangers(conf: Mapping[str, Any], known: Collection[str]) -> list[str]:
    """Those keys, sorted."""
    folded = _folded(tuple(known))
    found = []
    for key, value in conf.items():
        lower = key.lower()
        if value is not None and lower not in folded and not lower.startswith(_RESERVED) and not is_foreign(key):
            found.append(key)
    return sorted(found)


@lru_cache(maxsize=32)  # each plugin passes the same tuple every time
def _folded(known: tuple[str, ...]) -> frozenset[str]:
    return _COMMON.union(key.lower() for key in known)


def is_foreign(key: str) -> bool:
    """Whether it is a comment or has a vendor's prefix, so that it is not meant for the plugin."""
    return key.startswith(_COMMENTS) or "." in key or "/" in key
