"""`dockercni daemon`: watch the engine and serve its containers, until SIGTERM or SIGINT."""

from dockercni.commands.table import Invocation
from dockercni.daemon.loop import serve


def run(invocation: Invocation) -> int:
    """Serve until a signal ends it; returns the exit code."""
    return serve(invocation.settings, invocation.reload)
