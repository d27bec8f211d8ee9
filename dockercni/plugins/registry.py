"""The plugins of this process, served like executables."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

from dockercni.cni import strict_json
from dockercni.cni.errors import SHORTAGES, CNIError, ErrorCode, PluginError, PluginNotFound, PluginShortage
from dockercni.plugins import skeleton
from dockercni.plugins.table import NATIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dockercni.cni.runner import PluginCall, PluginRunner
    from dockercni.plugins.contract import Plugin

ENGINE: Final = "native"


def load(kind: str) -> Plugin:
    """The module of a plugin, imported when it is first needed. Raises PluginNotFound."""
    if kind not in NATIVE:
        raise PluginNotFound(kind, ["the plugins of dockercni itself"])
    return cast("Plugin", import_module(NATIVE[kind][0]))


def preload() -> None:
    """Import every plugin of this process now."""
    for kind in NATIVE:
        load(kind)


def refusal(kind: str, conf: Mapping[str, Any]) -> str:
    """Why a configuration cannot be served by a plugin of this process; "" if it can."""
    if kind not in NATIVE:
        return f"there is no native plugin {kind}"
    version = strict_json.lookup(conf, "cniVersion") or "0.1.0"
    if version not in NATIVE[kind][1]:
        return f"the native plugin does not speak version {version}"
    return load(kind).unsupported(conf)


def log_defect(call: PluginCall) -> None:
    """Log the exception that is being handled, with its traceback."""
    import structlog  # noqa: PLC0415  slow to import, and hardly ever needed: a cold plugin must not pay for it

    fields = {"id": call.environment.get("CNI_CONTAINERID", ""), "plugin": call.plugin, "engine": ENGINE}
    structlog.get_logger().exception("plugin has a defect", verb=call.verb, **fields)


class NativeRunner:
    """Serves calls by the plugins of this process. `delegates` serves what those delegate to (IPAM).

    `on_defect` is called where a plugin raises what is no CNIError, while that is being handled. `opens`: see Request.
    Thread-safe.
    """

    def __init__(
        self, delegates: PluginRunner, on_defect: Callable[[PluginCall], None] = log_defect, *, opens: bool = True
    ) -> None:
        self._opens = opens
        self._delegates = delegates
        self._on_defect = on_defect

    def run(self, call: PluginCall) -> Any:
        """See PluginRunner: a Result for ADD. What a plugin raises that is no CNIError becomes code 999."""
        plugin = load(call.plugin)
        if call.verb == "VERSION":
            supported = list(NATIVE[call.plugin][1])
            return {"cniVersion": supported[-1], "supportedVersions": supported}
        try:
            return skeleton.serve(plugin, NATIVE[call.plugin][1], call, self._delegates, opens=self._opens)
        except CNIError as error:
            if isinstance(cause := error.__cause__, OSError) and cause.errno in SHORTAGES:
                raise PluginShortage(call.plugin, call.verb, cause) from error
            raise PluginError(call.plugin, call.verb, error.msg, code=error.code, details=error.details) from error
        except Exception as error:
            self._on_defect(call)
            message = f"{type(error).__name__}: {error}"
            raise PluginError(call.plugin, call.verb, message, code=ErrorCode.INTERNAL) from error
