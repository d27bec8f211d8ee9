"""`dockercni daemon`: watch the engine and serve its containers, until SIGTERM or SIGINT."""

from dockercni.commands.table import Request
from dockercni.daemon.loop import serve


def run(request: Request) -> int:
    """Serve until a signal ends it; returns the exit code."""
    return serve(request.settings, request.reload)
