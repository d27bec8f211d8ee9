"""What the plugins of a network answer to VERSION, for the commands that show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dockercni.cni import EXEC, CNIError, ExecRunner, NetworkList, PluginNotFound
from dockercni.cni.runtime import supported_versions
from dockercni.plugins import ipam
from dockercni.plugins.dispatch import Dispatch
from dockercni.settings import Settings

BUILT_IN: Final = "in dockercni itself"

_SECONDS: Final = 10.0  # VERSION needs no work: a plugin that takes longer serves nothing else either


@dataclass(frozen=True, slots=True)
class PluginVersions:
    """One plugin: the path of its executable or BUILT_IN, and its versions of CNI, oldest first.

    Where `problem` says why there are none, `missing` tells whether that is because no such plugin was found.
    """

    type: str
    path: str = ""
    versions: tuple[str, ...] = ()
    problem: str = ""
    missing: bool = False

    @property
    def span(self) -> str:
        """The versions, shortened: "0.4.0 to 1.1.0"."""
        first, *others = self.versions
        return f"{first} to {others[-1]}" if others else first


class Probe:
    """Asks plugins for their versions, in the backend that would serve them; each is asked once."""

    def __init__(self, settings: Settings) -> None:
        self._executables = ExecRunner(settings.cni_bin_dir, min(_SECONDS, settings.plugin_timeout))
        self._dispatch = Dispatch(self._executables, settings.backend)
        self._answers: dict[tuple[str, str], PluginVersions] = {}

    def plugins(self, network: NetworkList) -> list[PluginVersions]:
        """Those of its list, and the IPAM plugins that these call; each once. Never raises."""
        found: dict[str, PluginVersions] = {}
        for plugin in network.plugins:
            backend = EXEC
            try:
                backend = self._dispatch.choose(network, plugin)
            except PluginNotFound as error:
                found.setdefault(plugin.type, PluginVersions(plugin.type, problem=str(error), missing=True))
            except CNIError as error:
                found.setdefault(plugin.type, PluginVersions(plugin.type, problem=str(error)))
                continue
            else:
                found.setdefault(plugin.type, self._ask(plugin.type, backend))
            delegate = plugin.raw.get("ipam")
            kind = delegate.get("type") if isinstance(delegate, Mapping) else None
            if isinstance(kind, str) and kind:
                conf = {**plugin.raw, "name": network.name, "cniVersion": network.cni_version}
                found.setdefault(kind, self._ask(kind, EXEC if backend == EXEC else ipam.backend(kind, conf)))
        return list(found.values())

    def _ask(self, plugin: str, backend: str) -> PluginVersions:
        if (plugin, backend) not in self._answers:
            self._answers[plugin, backend] = self._answer(plugin, backend)
        return self._answers[plugin, backend]

    def _answer(self, plugin: str, backend: str) -> PluginVersions:
        path = BUILT_IN
        try:
            if backend == EXEC:
                path = str(self._executables.find(plugin))
            return PluginVersions(plugin, path, supported_versions(self._dispatch, backend, plugin))
        except PluginNotFound as error:
            return PluginVersions(plugin, problem=str(error), missing=True)
        except CNIError as error:
            return PluginVersions(plugin, path, problem=f"{error} ({path})")
