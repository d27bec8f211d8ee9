"""Which sysctls the tuning plugin may set, and where they are. Pure but for the allowlist, which is a file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dockercni.cni import strict_json
from dockercni.cni.errors import ErrorCode
from dockercni.plugins.contract import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ALLOWLIST: Final = Path("/etc/cni/tuning/allowlist.conf")
ROOT: Final = "/proc/sys"
_NET: Final = f"{ROOT}/net/"


def path(key: str, ifname: str) -> str:
    """Where the sysctl is, `.` and `/` being equal and the first IFNAME standing for the interface.

    Raises PluginFailure unless that is below /proc/sys/net, the part that belongs to the network namespace.
    """
    key = key.replace(".", "/").replace("IFNAME", ifname, 1)
    found = os.path.normpath(f"{ROOT}/{key}")
    if not found.startswith(_NET):
        raise PluginFailure(f'invalid net sysctl key: "{key}"')
    return found


def paths(wanted: Mapping[str, str], ifname: str) -> dict[str, str]:
    """Where each value is to be written. Raises PluginFailure, also where two of them have the same place."""
    found: dict[str, str] = {}
    for key, value in wanted.items():
        if (place := path(key, ifname)) in found:
            raise PluginFailure(
                f"duplicated sysctl keys: {key} sets {place} once more", ErrorCode.INVALID_CONFIGURATION
            )
        found[place] = value
    return found


def check_repeated(config: bytes) -> None:
    """Raise PluginFailure for a sysctl that occurs twice in the JSON `config`, of which only the last would count."""
    if twice := strict_json.repeated(config, "sysctl"):
        raise PluginFailure(f"duplicated sysctl keys are not allowed: {twice}", ErrorCode.INVALID_CONFIGURATION)


def check_allowed(names: Iterable[str], allowlist: Path = ALLOWLIST) -> None:
    """Raise PluginFailure for a name that no line (a regular expression) of the allowlist matches anywhere.

    Without that file everything is allowed. Raises OSError if it cannot be read.
    """
    try:
        text = allowlist.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    allowed = [line.strip() for line in text.splitlines() if line.strip()]
    for name in names:
        if not any(_matches(pattern, name) for pattern in allowed):
            listed = " ".join(allowed)
            raise PluginFailure(f"Sysctl {name} is not allowed. Only the following sysctls are allowed: [{listed}]")


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error as error:
        raise PluginFailure(f"{ALLOWLIST}: {pattern} is not a regular expression: {error}") from None
