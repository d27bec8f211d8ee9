"""Which plugins exist in this process. Cheap to import: VERSION is answered from here."""

from __future__ import annotations

from typing import Final

from dockercni.cni import versions

_PACKAGE: Final = "dockercni.plugins"

PLUGINS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "bridge": (f"{_PACKAGE}.bridge", versions.KNOWN),
    "firewall": (f"{_PACKAGE}.firewall", versions.KNOWN[versions.KNOWN.index("0.4.0") :]),
    "host-local": (f"{_PACKAGE}.host_local", versions.KNOWN),
    "loopback": (f"{_PACKAGE}.loopback", versions.KNOWN),
    "portmap": (f"{_PACKAGE}.portmap", versions.KNOWN),
    "static": (f"{_PACKAGE}.static", versions.KNOWN),
    "tuning": (f"{_PACKAGE}.tuning", versions.KNOWN),
}
"""Type of the plugin -> its module, and the versions of CNI that it speaks."""
