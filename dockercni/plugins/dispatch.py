"""Which engine serves a plugin: one of this process, or the executable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from dockercni.cni.errors import CNIError, ConfigurationError, ErrorCode
from dockercni.cni.runner import EXEC
from dockercni.cni.strict_json import shown
from dockercni.plugins import registry
from dockercni.plugins.registry import NativeRunner
from dockercni.plugins.table import NATIVE

if TYPE_CHECKING:
    from collections.abc import Callable

    from dockercni.cni.conf import NetworkList, PluginConf
    from dockercni.cni.runner import PluginCall, PluginRunner

Engine = Literal["auto", "native", "exec"]
ENGINES: Final[tuple[Engine, ...]] = get_args(Engine)
KEY: Final = "dockercni"


class Dispatch:
    """Runs each call by the engine that it names: "native", or "exec" by `executables`.

    `engine` says what a new attachment gets: the executable, the native plugin (an error where there is none for the
    configuration), or with "auto" the native one wherever it supports every key and value. A network overrides it by
    `"dockercni": {"engine": ...}` in its conflist. An executable that waits for a DHCP server may take `patience`
    seconds. `opens` is False for whoever lets traffic through FORWARD itself (see Request).
    """

    def __init__(
        self,
        executables: PluginRunner,
        engine: Engine = "auto",
        on_defect: Callable[[PluginCall], None] = registry.log_defect,
        patience: float | None = None,
        *,
        opens: bool = True,
    ) -> None:
        self._executables = executables
        self._native = NativeRunner(self, on_defect, opens=opens)
        self._engine = engine
        self._patience = patience
        self._told: set[tuple[str, str, str]] = set()

    @property
    def path(self) -> str:
        """The value of CNI_PATH."""
        return self._executables.path

    def choose(self, network: NetworkList, plugin: PluginConf) -> str:
        """See PluginRunner. Raises ConfigurationError for a bad `dockercni` key, CNIError where "native" cannot be."""
        engine = wanted(network) or self._engine
        if engine != EXEC:
            conf = {**plugin.raw, "name": network.name, "cniVersion": network.cni_version}
            reason = registry.refusal(plugin.type, conf)
            if not reason:
                return registry.ENGINE
            if engine == registry.ENGINE:
                problem = f'plugin "{plugin.type}" of network "{network.name}" cannot be native: {reason}'
                raise CNIError(problem, ErrorCode.PLUGIN_NOT_AVAILABLE)
            if plugin.type in NATIVE:
                self._tell(network, plugin, reason)
        return self._executables.choose(network, plugin)

    def _tell(self, network: NetworkList, plugin: PluginConf, reason: str) -> None:
        """Say once why the executable serves what could be served here: a misspelt key is such a reason, too."""
        if (fact := (network.name, plugin.type, reason)) not in self._told:
            import logging  # noqa: PLC0415  a cold plugin must not pay for it

            self._told.add(fact)
            logging.getLogger(__name__).warning('network "%s": plugin %s is left to the executable: %s', *fact)

    def run(self, call: PluginCall) -> Any:
        """See PluginRunner."""
        if call.engine == registry.ENGINE:
            return self._native.run(call)
        from dockercni.plugins import assisted  # noqa: PLC0415  a cold plugin must not pay for it

        return assisted.run(call, self._executables, self._patience)


def wanted(network: NetworkList) -> Engine | None:
    """The engine that the network's own configuration asks for, if any. Raises ConfigurationError."""
    ours: Any = network.extra.get(KEY)
    if ours is None:
        return None
    engine = ours.get("engine") if isinstance(ours, dict) else ours
    if not isinstance(ours, dict) or engine not in (None, *ENGINES):
        problem = f"must be one of {', '.join(ENGINES)}, not {shown(engine)}"
        raise ConfigurationError(problem, source=network.source, key=f"{KEY}.engine")
    found: Engine | None = engine
    return found
