"""The keys that the built-in plugins say they know, and the values of those that have a list of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from dockercni.plugins import dispatch, firewall, keys, layout
from dockercni.plugins.table import PLUGINS
from tests.differential.score.breakage import Breakage
from tests.differential.score.paths import EACH, Path

_PLACES: Final[dict[str, Path]] = {"": (), "ipam: ": ("ipam",), "ipam.ranges: ": ("ipam", "ranges", EACH, EACH)}
_PROBE: Final[dict[str, Any]] = {"ipam": {"ranges": [[{}]]}}

VALUES: Final[dict[tuple[str, Path], tuple[str, ...]]] = {
    ("firewall", ("ingressPolicy",)): firewall._POLICIES,
    ("portmap", ("runtimeConfig", "portMappings", EACH, "protocol")): tuple(layout.PROTOCOLS),
}


def keys_of(kind: str) -> set[Path]:
    """The keys that a plugin hands to `keys.unknown`, when it is asked whether it supports a configuration."""
    found: set[Path] = set()
    original = keys.unknown

    def listed(conf: Mapping[str, Any], known: Collection[str], place: str = "") -> str:
        found.update((*_PLACES[place], key) for key in known)
        return ""

    keys.unknown = listed
    try:
        reason = dispatch.load(kind).unsupported(_PROBE)
        assert not reason, f"{kind} cannot be built-in on this machine: {reason}"
    finally:
        keys.unknown = original
    return found


def everything() -> set[tuple[str, Path]]:
    """The keys of all plugins."""
    return {(kind, path) for kind in PLUGINS for path in keys_of(kind)}


def values(plugin: str, path: Path) -> list[Breakage]:
    """Each value of an enumerated key taken for another one, which means something else."""
    listed = VALUES.get((plugin, path), ())
    return [
        Breakage(plugin, path, "altered", value, listed[-1] if value != listed[-1] else listed[-2]) for value in listed
    ]
