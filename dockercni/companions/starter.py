"""The daemon's side of a companion: connects to the running one, starts one, kills one that hangs."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgspec

import dockercni
from dockercni.companions import link as links

T = TypeVar("T")
Child = subprocess.Popen[bytes]

_PACKAGES: Final = str(Path(dockercni.__file__).parents[1])
_SUN_PATH: Final = 108  # bytes of a path in sockaddr_un, its end included (unix(7))


class CompanionEnded(Exception):
    """The companion ended, hangs, or speaks another protocol."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of companion: what messages call it, the name of its socket, and the module whose `main` it runs.

    The module's name is in the command line of such a process, whatever its version.
    """

    words: str
    socket_name: str
    module: str

    def connect(self, run_dir: Path) -> socket.socket | None:
        """A connection to the running process; None if there is none."""
        link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            with self._reachable(run_dir) as path:
                link.connect(path)
        except OSError:
            link.close()
            return None
        links.widen(link)
        return link

    def spawn(self, run_dir: Path) -> tuple[Child, socket.socket]:
        """A new process and a connection to it. Its own session keeps signals for the daemon's group away from it.

        Raises OSError, CompanionEnded.
        """
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        program = (
            f"import sys; sys.path.append(sys.argv[1]); from {self.module} import main; "
            "main(int(sys.argv[2]), sys.argv[3])"
        )
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as listening:
            with self._reachable(run_dir) as path:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                listening.bind(path)
                os.chmod(path, 0o600)
            listening.listen(8)
            child = subprocess.Popen(
                [sys.executable, "-I", "-c", program, _PACKAGES, str(listening.fileno()), str(run_dir)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[listening.fileno()],
                start_new_session=True,
            )
        link = self.connect(run_dir)
        if link is None:
            child.kill()
            child.wait()
            raise CompanionEnded(f"{self.words} ended when it was started")
        return child, link

    def next(
        self, link: socket.socket, patience: float, decoder: msgspec.json.Decoder[T]
    ) -> tuple[T, list[int]] | None:
        """Its next message and descriptors; None at its end.

        Raises CompanionEnded where it is silent for twice `patience` seconds, or cannot be understood.
        """
        poll = select.poll()
        poll.register(link, select.POLLIN)
        for _ in range(2):  # a single silence may mean that the whole machine stood still
            if poll.poll(patience * 1000):
                try:
                    return links.receive(link, decoder)
                except OSError:
                    return None
                except ValueError as error:
                    raise CompanionEnded(f"{self.words} sent a message that cannot be understood: {error}") from error
        raise CompanionEnded(f"{self.words} was silent for {2 * patience:g} s")

    def end(self, link: socket.socket, child: Child | None) -> None:
        """Kill a process that hangs or cannot be understood: our child, or the other end of the connection."""
        if child and child.poll() is None:
            child.kill()
            child.wait()
            return
        pid = int.from_bytes(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], sys.byteorder)
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(pid)
            try:
                command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
                if self.module in command:  # else the id was reused
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            finally:
                os.close(pidfd)

    @contextlib.contextmanager
    def _reachable(self, run_dir: Path) -> Iterator[str]:
        """A path of the socket that fits into sockaddr_un however long the run directory's is. Raises OSError."""
        path = str(run_dir / self.socket_name)
        if len(os.fsencode(path)) < _SUN_PATH:
            yield path
            return
        directory = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{directory}/{self.socket_name}"
        finally:
            os.close(directory)
