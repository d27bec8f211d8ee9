"""Asking a plugin which versions of the specification it speaks: VERSION, and what older plugins answer to it."""

from __future__ import annotations

from typing import Final

from dockercni.cni import versions
from dockercni.cni.errors import PluginError
from dockercni.cni.runner import PluginCall, PluginRunner
from dockercni.cni.strict_json import DocumentError, Fields

_BEFORE_VERSION: Final = "unknown CNI_COMMAND: VERSION"
_UNUSED: Final = "dummy"  # plugins of before 0.2.0 ask for these variables first


def supported_versions(runner: PluginRunner, engine: str, plugin: str) -> tuple[str, ...]:
    """The versions that `plugin` names, in its order. Raises PluginError, PluginNotFound."""
    environment = {
        "CNI_COMMAND": "VERSION",
        "CNI_CONTAINERID": _UNUSED,
        "CNI_NETNS": _UNUSED,
        "CNI_IFNAME": _UNUSED,
        "CNI_PATH": runner.path,
    }
    try:
        printed = runner.run(PluginCall(plugin, "VERSION", {"cniVersion": versions.CURRENT}, environment, engine))
    except PluginError as error:
        if error.msg == _BEFORE_VERSION:
            return (versions.OLDEST,)
        raise
    try:
        fields = Fields.of(printed)
        spoken = fields.string("cniVersion")
        supported = fields.strings("supportedVersions")
        if not spoken:
            fields.fail("cniVersion", "missing")
        if not supported and spoken != "0.2.0":  # in which plugins need not list them
            fields.fail("supportedVersions", "missing")
    except DocumentError as error:
        message = f"printed no valid list of versions: {error}"
        raise PluginError(plugin, "VERSION", message, code=error.code) from error
    return supported or ("0.1.0", "0.2.0")
