"""What a plugin executable says of itself: the verb VERSION."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dockercni.cni import CNIError, ExecRunner, NetworkList, PluginCall

_SECONDS: Final = 10.0  # a plugin that does not even know its versions by then will not serve either


@dataclass(frozen=True, slots=True)
class Ability:
    """One plugin: its executable, and the versions of CNI that it supports, or what is wrong with it."""

    type: str
    path: str = ""
    versions: tuple[str, ...] = ()
    problem: str = ""


def ability(runner: ExecRunner, plugin: str) -> Ability:
    """Find the plugin and ask it. Never raises."""
    try:
        path = str(runner.find(plugin))
    except CNIError as error:
        return Ability(plugin, problem=str(error))
    environment = {"CNI_COMMAND": "VERSION", "CNI_PATH": runner.path}
    # libcni sends a version, for plugins that want one; the other variables have to be there for some old ones
    environment |= {"CNI_NETNS": "dummy", "CNI_IFNAME": "dummy", "CNI_CONTAINERID": "dummy"}
    asking = ExecRunner(runner.directories, min(_SECONDS, runner.timeout))
    try:
        printed = asking.run(PluginCall(plugin, "VERSION", b'{"cniVersion":"1.1.0"}', environment))
        versions = _versions(json.loads(printed))
    except CNIError as error:
        return Ability(plugin, path, problem=str(error))
    except (ValueError, RecursionError):
        return Ability(plugin, path, problem=f"{path} answers VERSION with no JSON")
    if not versions:
        return Ability(plugin, path, problem=f"{path} answers VERSION without supportedVersions")
    return Ability(plugin, path, versions)


def types(network: NetworkList) -> Iterator[str]:
    """The plugins that a network needs: those of its list, and the IPAM plugins that these call."""
    for plugin in network.plugins:
        yield plugin.type
        ipam = plugin.raw.get("ipam")
        if isinstance(ipam, Mapping) and isinstance(ipam.get("type"), str) and ipam["type"]:
            yield ipam["type"]


def span(versions: tuple[str, ...]) -> str:
    """The versions, shortened."""
    return versions[0] if len(versions) == 1 else f"{versions[0]} to {versions[-1]}"


def _versions(answer: Any) -> tuple[str, ...]:
    found = answer.get("supportedVersions") if isinstance(answer, dict) else None
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list) else ()
