"""Which plugins exist in this process. Cheap to import: VERSION is answered from here."""

from __future__ import annotations

from typing import Final

from dockercni.cni import versions

_PACKAGE: Final = "dockercni.plugins"

NATIVE: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "host-local": (f"{_PACKAGE}.host_local", versions.KNOWN),
    "loopback": (f"{_PACKAGE}.loopback", versions.KNOWN),
    "static": (f"{_PACKAGE}.static", versions.KNOWN),
    "tuning": (f"{_PACKAGE}.tuning", versions.KNOWN),
}
"""Type of the plugin -> its module, and the versions of CNI that it speaks."""
