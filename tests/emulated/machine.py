"""The emulator, and the door into its machine: ssh through one port of the loopback. Nothing else leads in or out."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
from typing import TYPE_CHECKING, Final

from tests.hosts import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.emulated.image import Image

PROCESSORS: Final = 2
MEMORY: Final = "3G"
BOOT: Final = 900  # seconds, of which a boot takes 45 to 100 where the emulator has two processors for itself
APPARMOR: Final = ("apparmor=1", "security=apparmor")
SELINUX: Final = ("selinux=1", "security=selinux", "enforcing=1")

_WHERE: Final = "root@127.0.0.1"
_PLAIN: Final = (
    "-F",
    "none",
    "-o",
    "BatchMode=yes",
    "-o",
    "StrictHostKeyChecking=no",
    "-o",
    "UserKnownHostsFile=/dev/null",
)
_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"


class Emulated:
    """A machine that boots when it is made, by software alone; what it writes is forgotten when it is closed."""

    def __init__(self, image: Image, scratch: Path, *parameters: str) -> None:
        self._key = image.key
        self._socket = scratch / "ssh"
        self._console = scratch / "console"
        self._port = _free_port()
        self._master: subprocess.Popen[bytes] | None = None
        kernel = ("root=/dev/vda", "rw", "net.ifnames=0", "console=ttyS0", *parameters)
        argv = (
            *("setpriv", "--pdeathsig=KILL", "nice", "-n5", "qemu-system-x86_64"),
            *("-accel", "tcg,thread=multi", "-cpu", "max,la57=off,svm=off", "-smp", str(PROCESSORS), "-m", MEMORY),
            *("-display", "none", "-monitor", "none", "-serial", f"file:{self._console}"),
            *("-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", " ".join(kernel)),
            *("-drive", f"file={image.disk},if=virtio,format=raw,snapshot=on,cache=unsafe"),
            *("-netdev", f"user,id=uplink,restrict=on,hostfwd=tcp:127.0.0.1:{self._port}-:22"),
            *("-device", "virtio-net-pci,netdev=uplink", "-device", "virtio-rng-pci"),
        )
        environment = os.environ | {"TMPDIR": str(scratch)}  # where the disk's changes go
        self._qemu = subprocess.Popen(argv, stdin=subprocess.DEVNULL, env=environment)
        try:
            self.boot_id = self._wait_booted("")
        except BaseException:
            self.close()
            raise

    def reboot(self) -> None:
        """As an administrator does it: systemd stops everything, the machine is reset, the kernel starts."""
        self.run("systemctl", "reboot", check=False)
        self.boot_id = self._wait_booted(self.boot_id)

    def run(
        self, *argv: str, check: bool = True, timeout: float = 600, content: bytes = b""
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in it, with `content` as its input."""
        ssh = ("ssh", *_PLAIN, "-o", f"ControlPath={self._socket}", "-p", str(self._port), _WHERE, "--")
        done = subprocess.run(
            [*ssh, shlex.join(argv)], check=False, capture_output=True, input=content, timeout=timeout
        )
        text = subprocess.CompletedProcess(argv, done.returncode, _text(done.stdout), _text(done.stderr))
        assert not check or not text.returncode, f"{shlex.join(argv)}\n{text.stdout}{text.stderr}"
        return text

    def shell(self, script: str, *, check: bool = True, timeout: float = 600) -> str:
        """What a script for sh prints."""
        return self.run("/bin/sh", "-euc", script, check=check, timeout=timeout).stdout

    def docker(self, *argv: str, timeout: float = 600) -> str:
        """What `docker ...` prints there."""
        return self.run("docker", *argv, timeout=timeout).stdout.rstrip("\n")

    def put(self, path: str, content: str | bytes) -> str:
        """Write a file in it, and return its path there."""
        data = content.encode() if isinstance(content, str) else content
        self.run("/bin/sh", "-euc", 'mkdir -p "${1%/*}"; cat > "$1"', "put", path, content=data)
        return path

    def journal(self, unit: str = "dockercni") -> str:
        """What a unit has logged since the boot."""
        return self.run("journalctl", "--no-pager", "--boot", "--output=cat", f"--unit={unit}", check=False).stdout

    def said(self) -> str:
        """The end of what its kernel and systemd have printed."""
        return self._console.read_text(encoding="utf-8", errors="replace")[-6000:] if self._console.exists() else ""

    def close(self) -> None:
        """Switch it off."""
        for process in (self._master, self._qemu):
            if process:
                process.kill()
                process.wait()

    def _wait_booted(self, before: str) -> str:
        """Wait until systemd has started everything in another boot than that; its id."""

        def other() -> str:
            assert self._qemu.poll() is None, f"the emulator has ended\n{self.said()}"
            if not self._connected():
                return ""
            done = self.run("cat", _BOOT_ID, check=False)
            found = done.stdout.strip() if done.returncode == 0 else ""
            return found if found != before else ""

        boot_id = wait_until(other, BOOT, "a boot", self.said)
        state = self.run("systemctl", "is-system-running", "--wait", check=False, timeout=BOOT).stdout.strip()
        # Some unit of systemd's own fails where SELinux enforces Debian's policy.
        assert state in {"running", "degraded"}, f"{state}\n{self.shell('systemctl list-jobs', check=False)}"
        return boot_id

    def _connected(self) -> bool:
        """Whether the one connection stands that all commands share: each of its own would take seconds."""
        if self._master is None or self._master.poll() is not None:
            self._socket.unlink(missing_ok=True)
            options = ("-i", str(self._key), "-o", "ControlMaster=yes", "-o", f"ControlPath={self._socket}")
            alive = ("-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=20", "-o", "ServerAliveCountMax=6")
            argv = ("ssh", *_PLAIN, *options, *alive, "-q", "-N", "-p", str(self._port), _WHERE)
            self._master = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self._socket.exists()


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace")
