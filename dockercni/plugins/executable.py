"""One verb of a plugin for a program that was started as one: environment and stdin in, stdout and exit code out."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockercni.cni.calls import PluginCall
from dockercni.cni.errors import CNIError
from dockercni.cni.invoke import ExecRunner
from dockercni.plugins import registry
from dockercni.plugins.dispatch import Dispatch

if TYPE_CHECKING:
    from collections.abc import Mapping


def run(plugin: str, verb: str) -> int:
    """Carry the verb out, and print the result, or the error; 0 or 1, as the Go skeleton does.

    What is delegated goes to a plugin of this program, or to an executable found in CNI_PATH.
    """
    environment = {key: value for key, value in os.environ.items() if key.startswith("CNI_")}
    directories = [Path(each) for each in environment.get("CNI_PATH", "").split(os.pathsep) if each]
    runner = Dispatch(ExecRunner(directories), on_defect=lambda _: traceback.print_exc())
    call = PluginCall(plugin, verb, sys.stdin.buffer.read(), environment, registry.ENGINE)
    try:
        printed = runner.run(call)
    except CNIError as error:
        _print(error.to_dict())
        return 1
    if printed:
        _print(json.loads(printed))
    return 0


def _print(value: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, indent=4, ensure_ascii=False))
