"""`dockercni plugin NAME`: one of our plugins as a CNI executable."""

from dockercni.commands.table import Request
from dockercni.errors import UsageError
from dockercni.plugins.__main__ import serve
from dockercni.plugins.table import NATIVE


def run(request: Request) -> int:
    """Speak the CNI protocol: CNI_* in the environment, the configuration on stdin, result or error on stdout.

    Only reached with further options: `dockercni plugin NAME` alone never gets as far as a parser.
    """
    name = request.args.plugin
    if name not in NATIVE:
        raise UsageError(f"there is no native plugin {name!r}, only {', '.join(NATIVE)}")
    return serve(name)
