"""What serves a plugin: one of this process (the backend "builtin"), or the executable ("exec")."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args

from dockercni.cni.errors import (
    SHORTAGES,
    CNIError,
    ConfigurationError,
    ErrorCode,
    PluginError,
    PluginNotFound,
    PluginShortage,
)
from dockercni.cni.runner import EXEC
from dockercni.cni.strict_json import lookup, shown
from dockercni.plugins import skeleton
from dockercni.plugins.table import PLUGINS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dockercni.cni.conf import NetworkList, PluginConf
    from dockercni.cni.runner import PluginCall, PluginRunner
    from dockercni.plugins.contract import Plugin

Backend = Literal["auto", "builtin", "exec"]
BACKENDS: Final[tuple[Backend, ...]] = get_args(Backend)
BUILTIN: Final = "builtin"
KEY: Final = "dockercni"
_FORMER: Final = {"native": BUILTIN}  # what files of earlier versions call it


@cache
def load(kind: str) -> Plugin:
    """The module of a plugin, imported when it is first needed. Raises PluginNotFound."""
    if kind not in PLUGINS:
        raise PluginNotFound(kind, ["the plugins of dockercni itself"])
    return cast("Plugin", import_module(PLUGINS[kind][0]))


def preload() -> None:
    """Import every plugin of this process now."""
    for kind in PLUGINS:
        load(kind)


def refusal(kind: str, conf: Mapping[str, Any], version: str = "") -> str:
    """Why a configuration (of that `cniVersion`, "" if only `conf` says) cannot be served here; "" if it can."""
    if kind not in PLUGINS:
        return f"there is no built-in plugin {kind}"
    version = version or lookup(conf, "cniVersion") or "0.1.0"
    if version not in PLUGINS[kind][1]:
        return f"the built-in plugin does not speak version {version}"
    return load(kind).unsupported(conf)


def log_defect(call: PluginCall) -> None:
    """Log the exception that is being handled, with its traceback."""
    import structlog  # noqa: PLC0415  slow to import, and hardly ever needed: a cold plugin must not pay for it

    fields = {"id": call.environment.get("CNI_CONTAINERID", ""), "plugin": call.plugin, "backend": BUILTIN}
    structlog.get_logger().exception("plugin has a defect", verb=call.verb, **fields)


class Dispatch:
    """Runs each call by the backend that it names: a plugin of this process, or `executables`. Thread-safe.

    `backend` says what a new attachment gets: the executable, the built-in plugin (an error where there is none for
    the configuration), or with "auto" the built-in one wherever it supports every key and value. A network overrides
    it by `"dockercni": {"backend": ...}` in its conflist.

    `on_defect` is called while an exception is handled that a plugin should not have raised. An executable that waits
    for a DHCP server may take `patience` seconds. `opens` is False if the caller opens FORWARD itself
    (see Request). With `unchosen`, calls come from elsewhere than `choose`: what it would refuse, ADD refuses.
    """

    def __init__(
        self,
        executables: PluginRunner,
        backend: str = "auto",
        on_defect: Callable[[PluginCall], None] = log_defect,
        patience: float | None = None,
        *,
        opens: bool = True,
        unchosen: bool = False,
    ) -> None:
        self.path = executables.path
        self._executables = executables
        self._backend = backend
        self._on_defect = on_defect
        self._patience = patience
        self._opens = opens
        self._unchosen = unchosen
        self._logged: set[tuple[str, str, str]] = set()

    def choose(self, network: NetworkList, plugin: PluginConf) -> str:
        """See PluginRunner. Raises ConfigurationError for a bad `dockercni` key, CNIError where "builtin" cannot be."""
        backend = wanted(network) or self._backend
        if backend != EXEC:
            conf = {**plugin.raw, "name": network.name, "cniVersion": network.cni_version}
            reason = refusal(plugin.type, conf, network.cni_version)
            if not reason:
                return BUILTIN
            if backend == BUILTIN:
                problem = f'plugin "{plugin.type}" of network "{network.name}" cannot be built-in: {reason}'
                raise CNIError(problem, ErrorCode.PLUGIN_NOT_AVAILABLE)
            if plugin.type in PLUGINS:
                self._log_once(network, plugin, reason)
        return self._executables.choose(network, plugin)

    def _log_once(self, network: NetworkList, plugin: PluginConf, reason: str) -> None:
        """Warn that the executable serves what could be served here: a misspelt key is such a reason, too."""
        if (fact := (network.name, plugin.type, reason)) not in self._logged:
            import logging  # noqa: PLC0415  a cold plugin must not pay for it

            self._logged.add(fact)
            logging.getLogger(__name__).warning('network "%s": plugin %s is left to the executable: %s', *fact)

    def run(self, call: PluginCall) -> Any:
        """See PluginRunner; a plugin of this process answers ADD with a Result.

        What such a plugin raises that is no CNIError becomes code 999.
        """
        if call.backend not in {BUILTIN, *_FORMER}:
            from dockercni.plugins import assisted  # noqa: PLC0415  a cold plugin must not pay for it

            return assisted.run(call, self._executables, self._patience)
        plugin, supported = load(call.plugin), PLUGINS[call.plugin][1]
        if call.verb == "VERSION":
            return {"cniVersion": supported[-1], "supportedVersions": list(supported)}
        try:
            return skeleton.serve(plugin, supported, call, self, opens=self._opens, unchosen=self._unchosen)
        except CNIError as error:
            if isinstance(cause := error.__cause__, OSError) and cause.errno in SHORTAGES:
                raise PluginShortage(call.plugin, call.verb, cause) from error
            raise PluginError(call.plugin, call.verb, error.msg, code=error.code, details=error.details) from error
        except Exception as error:
            self._on_defect(call)
            message = f"{type(error).__name__}: {error}"
            raise PluginError(call.plugin, call.verb, message, code=ErrorCode.INTERNAL) from error


def wanted(network: NetworkList) -> Backend | None:
    """The backend that the network's own configuration asks for, if any. Raises ConfigurationError.

    The key `engine` and the value "native", of earlier versions, are still read.
    """
    ours: Any = network.extra.get(KEY)
    if ours is None:
        return None
    key = "backend" if not isinstance(ours, dict) or "backend" in ours or "engine" not in ours else "engine"
    asked = ours.get(key) if isinstance(ours, dict) else ours
    backend = _FORMER.get(asked, asked) if isinstance(asked, str) else asked
    if not isinstance(ours, dict) or backend not in (None, *BACKENDS):
        problem = f"must be one of {', '.join(BACKENDS)}, not {shown(asked)}"
        raise ConfigurationError(problem, source=network.source, key=f"{KEY}.{key}")
    found: Backend | None = backend
    return found
