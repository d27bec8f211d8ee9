"""What the plugins of a network support: by the verb VERSION, or as they stand in this process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dockercni.cni import CNIError, ExecRunner, NetworkList, PluginCall, PluginNotFound
from dockercni.plugins import registry
from dockercni.plugins.dispatch import Dispatch
from dockercni.plugins.table import NATIVE
from dockercni.settings import Settings

IN_PROCESS: Final = "in dockercni itself"

_SECONDS: Final = 10.0  # a plugin that does not even know its versions by then will not serve either


@dataclass(frozen=True, slots=True)
class Ability:
    """One plugin: its path or IN_PROCESS, and the versions of CNI that it supports, or what is wrong with it."""

    type: str
    path: str = ""
    versions: tuple[str, ...] = ()
    problem: str = ""


class Abilities:
    """What the plugins of networks can do, as the daemon would choose them; each executable is asked once."""

    def __init__(self, settings: Settings) -> None:
        self._executables = ExecRunner(settings.cni_bin_dir, min(_SECONDS, settings.plugin_timeout))
        self._dispatch = Dispatch(self._executables, settings.engine)
        self._asked: dict[str, Ability] = {}

    def of(self, network: NetworkList) -> list[Ability]:
        """Those of its list, and the IPAM plugins that these call; each once. Never raises."""
        found: dict[str, Ability] = {}
        for plugin in network.plugins:
            try:
                native = self._dispatch.choose(network, plugin) == registry.ENGINE
            except PluginNotFound as error:
                found.setdefault(plugin.type, Ability(plugin.type, problem=str(error)))
                native = False
            except CNIError as error:
                found.setdefault(plugin.type, Ability(plugin.type, problem=str(error)))
                continue
            else:
                found.setdefault(plugin.type, _native(plugin.type) if native else self._ask(plugin.type))
            ipam = plugin.raw.get("ipam")
            kind = ipam.get("type") if isinstance(ipam, Mapping) else None
            if isinstance(kind, str) and kind:
                conf = {**plugin.raw, "name": network.name, "cniVersion": network.cni_version}
                here = native and not registry.refusal(kind, conf)
                found.setdefault(kind, _native(kind) if here else self._ask(kind))
        return list(found.values())

    def _ask(self, plugin: str) -> Ability:
        if plugin not in self._asked:
            self._asked[plugin] = _ability(self._executables, plugin)
        return self._asked[plugin]


def _native(plugin: str) -> Ability:
    return Ability(plugin, IN_PROCESS, tuple(NATIVE[plugin][1]))


def _ability(runner: ExecRunner, plugin: str) -> Ability:
    """Find the executable and ask it."""
    try:
        path = str(runner.find(plugin))
    except CNIError as error:
        return Ability(plugin, problem=str(error))
    environment = {"CNI_COMMAND": "VERSION", "CNI_PATH": runner.path}
    # libcni sends a version, for plugins that want one; the other variables have to be there for some old ones
    environment |= {"CNI_NETNS": "dummy", "CNI_IFNAME": "dummy", "CNI_CONTAINERID": "dummy"}
    try:
        printed = runner.run(PluginCall(plugin, "VERSION", b'{"cniVersion":"1.1.0"}', environment))
        versions = _versions(json.loads(printed))
    except CNIError as error:
        return Ability(plugin, path, problem=str(error))
    except (ValueError, RecursionError):
        return Ability(plugin, path, problem=f"{path} answers VERSION with no JSON")
    if not versions:
        return Ability(plugin, path, problem=f"{path} answers VERSION without supportedVersions")
    return Ability(plugin, path, versions)


def span(versions: tuple[str, ...]) -> str:
    """The versions, shortened."""
    return versions[0] if len(versions) == 1 else f"{versions[0]} to {versions[-1]}"


def _versions(answer: Any) -> tuple[str, ...]:
    found = answer.get("supportedVersions") if isinstance(answer, dict) else None
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list) else ()
