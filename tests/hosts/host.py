"""A private host: where an engine, dockercni and everything they make are nobody else's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.hosts.engine import DRIVER_NEEDS, Engine
from tests.hosts.place import Place
from tests.hosts.processes import MARK, Members
from tests.hosts.registry import Entry, end_host, sweep

if TYPE_CHECKING:
    from types import TracebackType

HOLDER = Path(__file__).with_name("holder.sh")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Host(Place):
    """A network and mount namespace, with the machine's files but /run, /var/lib/docker and the like of its own."""

    def __init__(self) -> None:
        sweep()
        self.entered = Entry()
        self.name = self.entered.name
        self.members = Members(self.name)
        self.holder: subprocess.Popen[bytes] | None = None
        env = {
            "PATH": f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}".lstrip(":"),
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "DOCKER_CONFIG": "/run/docker-cli",  # root's own may name another engine
            MARK: self.name,
        }
        super().__init__((), env, self.entered.directory)
        try:
            self._start_holder()
        except BaseException:
            self.close()
            raise
        self.engine = Engine(self)

    def _start_holder(self) -> None:
        with (self.logs / "holder.log").open("wb") as log:
            self.holder = subprocess.Popen(
                ["unshare", "--net", "--mount", "--propagation", "private", "/bin/sh", str(HOLDER), *DRIVER_NEEDS],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.env,
                start_new_session=True,
            )
        assert self.holder.stdout
        if self.holder.stdout.readline() != b"ready\n":
            raise RuntimeError(f"no private host: {(self.logs / 'holder.log').read_text()}")
        self.members.hold_namespaces(self.holder.pid)
        self.entry = ("nsenter", f"--target={self.holder.pid}", "--net", "--mount", "--")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End everything of this host, and nothing else."""
        try:
            end_host(self.members)
            for program in self.background:
                program.process.wait(10)
            if self.holder:
                self.holder.wait(10)
                assert self.holder.stdin
                assert self.holder.stdout
                self.holder.stdin.close()
                self.holder.stdout.close()
        finally:
            self.members.release()
            self.entered.remove()

    def path(self, inside: str | os.PathLike[str]) -> Path:
        """Where a file of this host can be reached from outside."""
        assert self.holder
        return Path(f"/proc/{self.holder.pid}/root") / os.fspath(inside).lstrip("/")

    def read(self, inside: str | os.PathLike[str]) -> str:
        """The text of a file of this host."""
        return self.path(inside).read_text(encoding="utf-8")

    def write(self, inside: str | os.PathLike[str], text: str) -> None:
        """Write a file of this host, its directory included."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def docker(self, *argv: str | os.PathLike[str], check: bool = True, timeout: float = 60) -> str:
        """What `docker ...` prints, without the last line's end."""
        return self.run("docker", *argv, check=check, timeout=timeout).stdout.rstrip("\n")

    def container(self, name: str) -> Place:
        """The network of a running container as a place, with this host's programs and files."""
        assert self.holder
        pid = int(self.docker("inspect", "--format={{.State.Pid}}", name))
        assert pid, f"{name} does not run"
        entry = ("nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", f"--net=/proc/{pid}/ns/net", "--")
        place = Place(entry, self.env, self.logs)
        place.background = self.background
        return place

    def start_engine(self, *flags: str, live_restore: bool = False) -> None:
        """Start the engine, and wait until it answers on /run/docker.sock."""
        self.engine.start(*flags, *(["--live-restore"] if live_restore else []))

    def stop_engine(self) -> None:
        """Stop the engine as a service manager would, and wait for its end."""
        self.engine.stop()

    def kill_engine(self, *, containerd: bool = False) -> None:
        """SIGKILL the engine and, if asked, its containerd; containers live on."""
        self.engine.kill(containerd=containerd)

    def kill_containerd(self) -> None:
        """SIGKILL the engine's containerd alone; the engine starts another one."""
        self.engine.kill_containerd()
