"""The engine of a private host, with a containerd of its own, at the default paths."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from tests.hosts.waiting import wait_until

if TYPE_CHECKING:
    from tests.hosts.commands import Background
    from tests.hosts.host import Host

CONFIG = "/run/private/daemon.json"
CONTAINERD_PID = "/run/docker/containerd/containerd.pid"
# What the engines of new hosts do by default, and the machine that the tests run on may not be able to.
USES_SYSTEMD = os.environ.get("TEST_CGROUP_DRIVER") == "systemd"
DRIVER_NEEDS = ("/run/dbus", "/run/systemd") if USES_SYSTEMD else ()
USES_NFTABLES = os.environ.get("TEST_FIREWALL") == "nftables"  # Docker 29 and later
USES_CONTAINERD_STORE = os.environ.get("TEST_IMAGE_STORE") == "containerd"
# Copies what an image has, which works everywhere; and what shares it, for large images. Each store has its own names.
COPIES, OVERLAY = (
    f"--storage-driver={name}" for name in (("native", "overlayfs") if USES_CONTAINERD_STORE else ("vfs", "overlay2"))
)


class Engine:
    """Started, stopped and killed as often as a test likes; images and containers stay, as on a real host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.process: Background | None = None

    @property
    def running(self) -> bool:
        """Whether its process has not ended."""
        return self.process is not None and self.process.running

    def start(self, *flags: str) -> None:
        """Start it, and wait until it answers."""
        assert not self.running, "the engine is already running"
        features = {"containerd-snapshotter": True} if USES_CONTAINERD_STORE else {}
        self.host.write(CONFIG, json.dumps({"features": features}))
        if not self._containerds():
            # Where process 1 is slow to reap, the engine takes a dead containerd for a running one.
            self.host.path(CONTAINERD_PID).unlink(missing_ok=True)
        self.process = process = self.host.popen(
            "dockerd",
            f"--config-file={CONFIG}",
            COPIES,
            f"--cgroup-parent={self.cgroup_parent()}",
            f"--exec-opt=native.cgroupdriver={'systemd' if USES_SYSTEMD else 'cgroupfs'}",
            *(["--firewall-backend=nftables"] if USES_NFTABLES else []),
            *flags,
            log="dockerd.log",
        )
        wait_until(lambda: self.answers() or not process.running, 60, "the engine's answer", process.text)
        assert process.running, process.text()

    def answers(self) -> bool:
        """Whether the API says that it is ready."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(self.host.path("/run/docker.sock")))
            client.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in client.recv(64)
        return False

    def cgroup_parent(self, *below: str) -> str:
        """The parent that its containers have, or one below that, in the words of its cgroup driver."""
        if USES_SYSTEMD:
            return f"{'-'.join([self.host.name, *below])}.slice"
        return "/".join(["", self.host.name, *below])

    def cgroup(self, container: str) -> str:
        """The end of the path of a container's cgroup."""
        return f"{self.cgroup_parent()}/{f'docker-{container}.scope' if USES_SYSTEMD else container}"

    def stop(self) -> None:
        """SIGTERM, and wait."""
        assert self.process
        self.process.stop(60)

    def kill(self, *, containerd: bool) -> None:
        """SIGKILL, and wait; containerd meanwhile, if asked, while the engine cannot start it again."""
        assert self.process
        if containerd:
            self.process.process.send_signal(signal.SIGSTOP)
            for pid in self._containerds():
                self.host.members.send(pid, signal.SIGKILL)
        self.process.kill()
        if containerd:
            wait_until(lambda: not self._containerds(), 10, "the end of containerd", self._containerds)

    def kill_containerd(self) -> None:
        """SIGKILL for its containerd alone, which it starts again by itself."""
        for pid in self._containerds():
            self.host.members.send(pid, signal.SIGKILL)

    def _containerds(self) -> list[int]:
        return [pid for pid in self.host.members.find() if _comm(pid) == "containerd"]


def _comm(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""
