"""The service manager's notify protocol (sd_notify(3)): datagrams to the socket that $NOTIFY_SOCKET names."""

from __future__ import annotations

import contextlib
import os
import socket


def send(state: str) -> None:
    """Send `state` ("READY=1", "STATUS=..."); nothing happens where no service manager listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    target = "\0" + address[1:] if address[0] == "@" else address
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager,
        contextlib.suppress(OSError),
    ):
        manager.sendto(state.encode(), target)  # a service manager that is gone does not matter
