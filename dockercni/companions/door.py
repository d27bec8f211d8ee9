"""Where the daemon finds a companion: its listening socket in the run directory, open to our own user only."""

from __future__ import annotations

import contextlib
import os
import socket
import sys


class Door:
    """A listening socket; `name` is its file in the directory with the descriptor `directory`."""

    def __init__(self, listening: socket.socket, directory: int, name: str) -> None:
        listening.listen()  # again, so that SO_PEERCRED of a connection names this process
        self._listening = listening
        self._directory = directory
        self._name = name
        self._place = self._found()

    def fileno(self) -> int:
        """The socket's descriptor, readable when a process connects."""
        return self._listening.fileno()

    def accept(self) -> socket.socket | None:
        """The next connection; None if it was refused, because another user made it. Raises OSError."""
        link, _ = self._listening.accept()
        uid = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[4:8]
        if int.from_bytes(uid, sys.byteorder) != os.geteuid():
            link.close()
            return None
        return link

    def lost(self) -> bool:
        """Whether the socket's file is gone: then the next daemon cannot find this process, and starts another one."""
        return self._found() != self._place

    def remove(self) -> None:
        """Remove the socket's file, if it is still ours."""
        with contextlib.suppress(OSError):
            if not self.lost():
                os.unlink(self._name, dir_fd=self._directory)

    def _found(self) -> tuple[int, int]:
        try:
            found = os.stat(self._name, dir_fd=self._directory)
        except OSError:
            return -1, -1
        return found.st_dev, found.st_ino
