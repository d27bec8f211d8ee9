"""`python -m dockercni.plugins NAME`, `dockercni plugin NAME`, and links named `dockercni-NAME`: CNI executables.

Cheap to start: only what the plugin needs is imported, and for VERSION not even that.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from dockercni.cni.versions import CURRENT
from dockercni.plugins.table import PLUGINS

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX = "dockercni-"


def named(argv: Sequence[str]) -> str:
    """The plugin of a command line `dockercni-NAME` or `dockercni plugin NAME`; "" for any other."""
    program, *arguments = argv
    plugin = os.path.basename(program).removeprefix(PREFIX)
    if plugin not in PLUGINS and len(arguments) == 2 and arguments[0] == "plugin":
        plugin = arguments[1]
    return plugin if plugin in PLUGINS else ""


def main() -> int:
    """Be the plugin of the program's name, or of the only argument. Returns the exit code: 0, 1, or 2 for bad usage."""
    program, *arguments = sys.argv
    plugin = named([program, "plugin", *arguments])
    if plugin:
        return serve(plugin)
    sys.stderr.write(f"usage: dockercni plugin {{{','.join(PLUGINS)}}}, with CNI_* in the environment\n")
    return 2


def serve(plugin: str) -> int:
    """Read environment and stdin, print what a CNI executable prints; 0, or 1 with the error on stdout."""
    verb = os.environ.get("CNI_COMMAND", "")
    if verb == "VERSION":
        _print_version(PLUGINS[plugin][1])
        return 0
    if not verb:
        sys.stderr.write(f"CNI plugin {plugin} of dockercni\n")
        sys.stderr.write(f"CNI protocol versions supported: {', '.join(PLUGINS[plugin][1])}\n")
        return 0
    from dockercni.plugins import executable  # noqa: PLC0415  VERSION does not need it

    return executable.run(plugin, verb)


def _print_version(versions: Sequence[str]) -> None:
    listed = ",".join(f'"{version}"' for version in versions)
    sys.stdout.write(f'{{"cniVersion":"{CURRENT}","supportedVersions":[{listed}]}}\n')


if __name__ == "__main__":
    sys.exit(main())
