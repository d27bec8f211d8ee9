"""`dockercni plugin NAME`: run one of dockercni's plugins as a CNI executable."""

from dockercni.commands.table import Invocation
from dockercni.errors import UsageError
from dockercni.plugins.__main__ import serve
from dockercni.plugins.table import PLUGINS


def run(invocation: Invocation) -> int:
    """Speak the CNI protocol: CNI_* in the environment, the configuration on stdin, result or error on stdout.

    Only reached with further options: __main__ serves `dockercni plugin NAME` alone, before any parser is imported.
    """
    name = invocation.args.plugin
    if name not in PLUGINS:
        raise UsageError(f"there is no built-in plugin {name!r} (known: {', '.join(PLUGINS)})")
    return serve(name)
