"""Plugins of this process, asked as a runtime would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dockercni.cni import NetworkList, PluginCall, PluginConf, PluginNotFound, Result
from dockercni.cni.runner import EXEC
from dockercni.plugins.dispatch import BUILTIN, Dispatch

if TYPE_CHECKING:
    from collections.abc import Mapping


class Executables:
    """Executables that do nothing but note what they are asked; those of `missing` do not exist."""

    path = "/nowhere"

    def __init__(self, *missing: str, answer: Mapping[str, Any] | None = None) -> None:
        self.missing = missing
        self.answer = answer
        self.calls: list[PluginCall] = []

    def choose(self, network: NetworkList, plugin: PluginConf) -> str:
        """See PluginRunner."""
        if plugin.type in self.missing:
            raise PluginNotFound(plugin.type, [self.path])
        return EXEC

    def run(self, call: PluginCall) -> Any:
        """See PluginRunner."""
        self.calls.append(call)
        return self.answer if call.verb == "ADD" else None


def call(verb: str, conf: Any, container: str = "c1", ifname: str = "eth0", **environment: str) -> PluginCall:
    """A call of the plugin that `conf` names; `environment` overrides variables without their CNI_."""
    variables = {
        "COMMAND": verb,
        "CONTAINERID": container,
        "NETNS": "/nowhere/ns",
        "IFNAME": ifname,
        "ARGS": "",
        "PATH": "/nowhere",
        **environment,
    }
    given = {f"CNI_{key}": value for key, value in variables.items()}
    return PluginCall(conf["type"], verb, conf, given, BUILTIN)


def ask(verb: str, conf: Any, *arguments: str, runner: Dispatch | None = None, **environment: str) -> Any:
    """The result of a call, as JSON."""
    answer = (runner or Dispatch(Executables())).run(call(verb, conf, *arguments, **environment))
    return answer.raw if isinstance(answer, Result) else answer
