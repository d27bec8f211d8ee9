"""One verb of a plugin that was started as an executable: environment and stdin in, stdout and exit code out."""

from __future__ import annotations

import json
import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dockercni.cni.errors import CNIError
from dockercni.cni.runner import PluginCall
from dockercni.plugins import skeleton
from dockercni.plugins.dispatch import BUILTIN, Dispatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockercni.cni.conf import NetworkList, PluginConf
    from dockercni.cni.invoke import ExecRunner


def run(plugin: str, verb: str) -> int:
    """Carry the verb out, and print the result or the error. Returns 0 or 1, as the Go skeleton does.

    IPAM is served by a plugin of this program, or by an executable in CNI_PATH.
    """
    environment = {key: value for key, value in os.environ.items() if key.startswith("CNI_")}
    runner = Dispatch(_Executables(environment.get("CNI_PATH", "")), on_defect=_print_defect, unchosen=True)
    stdin = sys.stdin.buffer.read()
    try:
        skeleton.check_environment(verb, environment)
        config = skeleton.read_config(stdin)
        if plugin == "tuning" and verb in {"ADD", "STATUS"}:
            from dockercni.plugins import sysctls  # noqa: PLC0415  the other plugins start without it

            sysctls.check_repeated(stdin)
        answer = runner.run(PluginCall(plugin, verb, config, environment, BUILTIN))
    except CNIError as error:
        _print(error.to_dict())
        return 1
    if answer is not None:
        _print(answer.raw)
    return 0


class _Executables:
    """The executables in CNI_PATH. ExecRunner is imported only when one is needed, because it doubles a cold start."""

    def __init__(self, path: str) -> None:
        self.path = path

    @cached_property
    def _runner(self) -> ExecRunner:
        from pathlib import Path  # noqa: PLC0415  see the class

        from dockercni.cni.invoke import ExecRunner  # noqa: PLC0415  see the class

        return ExecRunner([Path(each) for each in self.path.split(os.pathsep) if each])

    def choose(self, network: NetworkList, plugin: PluginConf) -> str:
        """See PluginRunner."""
        return self._runner.choose(network, plugin)

    def run(self, call: PluginCall) -> Any:
        """See PluginRunner."""
        return self._runner.run(call)


def _print_defect(call: PluginCall) -> None:
    sys.stderr.write(f"plugin {call.plugin} has a defect:\n")
    if error := sys.exception():
        sys.excepthook(type(error), error, error.__traceback__)


def _print(value: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, indent=4, ensure_ascii=False))
