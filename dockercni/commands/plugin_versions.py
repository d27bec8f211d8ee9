"""What the plugins of a network support: by the verb VERSION, or as they stand in this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dockercni.cni import EXEC, CNIError, ExecRunner, NetworkList, PluginNotFound
from dockercni.cni.probe import supported_versions
from dockercni.plugins import registry
from dockercni.plugins.dispatch import Dispatch
from dockercni.settings import Settings

IN_PROCESS: Final = "in dockercni itself"

_SECONDS: Final = 10.0  # a plugin that does not even know its versions by then will not serve either


@dataclass(frozen=True, slots=True)
class Ability:
    """One plugin: its path or IN_PROCESS, and the versions of CNI that it supports, or what is wrong with it.

    `missing` if that is that there is none.
    """

    type: str
    path: str = ""
    versions: tuple[str, ...] = ()
    problem: str = ""
    missing: bool = False


class Abilities:
    """What the plugins of networks can do, as the daemon would choose them; each executable is asked once."""

    def __init__(self, settings: Settings) -> None:
        self._executables = ExecRunner(settings.cni_bin_dir, min(_SECONDS, settings.plugin_timeout))
        self._dispatch = Dispatch(self._executables, "native" if settings.backend == "builtin" else settings.backend)
        self._asked: dict[tuple[str, str], Ability] = {}

    def of(self, network: NetworkList) -> list[Ability]:
        """Those of its list, and the IPAM plugins that these call; each once. Never raises."""
        found: dict[str, Ability] = {}
        for plugin in network.plugins:
            try:
                engine = self._dispatch.choose(network, plugin)
            except PluginNotFound as error:
                found.setdefault(plugin.type, Ability(plugin.type, problem=str(error), missing=True))
                engine = EXEC
            except CNIError as error:
                found.setdefault(plugin.type, Ability(plugin.type, problem=str(error)))
                continue
            else:
                found.setdefault(plugin.type, self._ask(plugin.type, engine))
            ipam = plugin.raw.get("ipam")
            kind = ipam.get("type") if isinstance(ipam, Mapping) else None
            if isinstance(kind, str) and kind:
                conf = {**plugin.raw, "name": network.name, "cniVersion": network.cni_version}
                here = engine == registry.ENGINE and not registry.refusal(kind, conf)
                found.setdefault(kind, self._ask(kind, registry.ENGINE if here else EXEC))
        return list(found.values())

    def _ask(self, plugin: str, engine: str) -> Ability:
        if (plugin, engine) not in self._asked:
            self._asked[plugin, engine] = self._ability(plugin, engine)
        return self._asked[plugin, engine]

    def _ability(self, plugin: str, engine: str) -> Ability:
        path = IN_PROCESS
        try:
            if engine == EXEC:
                path = str(self._executables.find(plugin))
            return Ability(plugin, path, supported_versions(self._dispatch, engine, plugin))
        except PluginNotFound as error:
            return Ability(plugin, problem=str(error), missing=True)
        except CNIError as error:
            return Ability(plugin, path, problem=f"{error} ({path})")


def span(versions: tuple[str, ...]) -> str:
    """The versions, shortened."""
    return versions[0] if len(versions) == 1 else f"{versions[0]} to {versions[-1]}"
