"""`dockercni version`: needs neither root nor an engine."""

import os
import sys

from dockercni import __version__, render
from dockercni.commands.table import Invocation


def run(invocation: Invocation) -> int:
    """Print the versions that a bug report needs; JSON keys: dockercni, python, kernel."""
    versions = {
        "dockercni": __version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "kernel": os.uname().release,
    }
    if invocation.output == "json":
        render.json(versions)
    else:
        for name, version in versions.items():
            render.line(f"{name} {version}")
    return 0
