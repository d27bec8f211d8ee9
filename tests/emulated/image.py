"""The disk that the emulated machine boots from, made without booting anything: a Debian root in an ext4 file.

It is kept beside the roots, and made again when its packages, what the program depends on or this recipe changes. The
tree under test is no part of it.
"""

from __future__ import annotations

import hashlib
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.hosts import TREE
from tests.machines.debian import DOCKER_CLI, FOR_TESTS, PACKAGES, Release, keep, run

# A machine needs a kernel and a way in; AppArmor's profiles and SELinux's policy are chosen by the kernel's parameters.
BOOTED: Final = (
    "apparmor",
    "initramfs-tools",
    "linux-image-cloud-amd64",
    "openssh-server",
    "policycoreutils",
    "selinux-policy-default",
)
RELEASE: Final = Release("trixie", (*PACKAGES, DOCKER_CLI, *FOR_TESTS, *BOOTED), cgroups=2)
SIZE: Final = "6G"  # a sparse file
HOME: Final = "/opt/dockercni"
# What would take the processor's time from the tests, some minutes after the boot.
TIMERS: Final = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer")
# Debian's profiles of programs that are not there take a minute of each boot.
PROFILES: Final = ("crun", "runc", "unix-chkpwd")

FILES: Final = {
    "etc/hostname": "machine\n",
    "etc/hosts": "127.0.0.1 localhost machine\n::1 localhost\n",
    "etc/resolv.conf": "",  # nobody answers: a question fails at once
    # The addresses that the emulator's user network has.
    "etc/systemd/network/uplink.network": "[Match]\nName=eth0\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n",
    "etc/ssh/sshd_config.d/tests.conf": "UseDNS no\nPermitRootLogin prohibit-password\nMaxSessions 50\n",
}


@dataclass(frozen=True, slots=True)
class Image:
    """A directory with a disk, the kernel, its initrd, and the key that opens the machine's door."""

    directory: Path

    @property
    def disk(self) -> Path:
        """An ext4 file system without partitions, only to be read."""
        return self.directory / "disk"

    @property
    def kernel(self) -> Path:
        """What the emulator starts."""
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """Its initial file system."""
        return self.directory / "initrd.img"

    @property
    def key(self) -> Path:
        """A private key of ssh for root."""
        return self.directory / "key"


def make_image() -> Image:
    """The image from an earlier run, or a new one."""
    project = tomllib.loads((TREE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    wanted = [*sorted(RELEASE.packages), *project["dependencies"], recipe]
    return Image(keep("machine", wanted, lambda directory: _make(directory, project["dependencies"])))


def _make(directory: Path, dependencies: list[str]) -> None:
    directory.mkdir()
    key = directory / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tests", "-f", str(key))
    root = directory / "root"
    run("cp", "--archive", "--reflink=auto", str(RELEASE.root()), str(root))
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    (ssh := root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(key.with_suffix(".pub"), ssh / "authorized_keys")
    run("chroot", str(root), "systemctl", "--quiet", "enable", "systemd-networkd")
    run("chroot", str(root), "systemctl", "--quiet", "mask", *TIMERS)
    for profile in (root / "etc/apparmor.d").iterdir():
        if profile.is_file() and profile.name not in PROFILES:
            profile.unlink()
    _install(root, dependencies)
    for name in ("vmlinuz", "initrd.img"):
        shutil.copy(root / (root / name).readlink(), directory / name)
    _label(root)
    run("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", str(root), str(directory / "disk"), SIZE)
    shutil.rmtree(root)


def _install(root: Path, dependencies: list[str]) -> None:
    """A virtual environment with what the program depends on: it takes minutes on the emulated machine."""
    wheels = root / "root/wheels"
    shutil.copytree(RELEASE.wheels(), wheels)
    run("chroot", str(root), "python3", "-m", "venv", HOME)
    pip = (f"{HOME}/bin/pip", "install", "--quiet", "--no-index", "--find-links=/root/wheels")
    run("chroot", str(root), *pip, *dependencies)
    shutil.rmtree(wheels)


def _label(root: Path) -> None:
    """What SELinux calls each file, as its first boot would find out in a quarter of an hour."""
    contexts = "/etc/selinux/default/contexts/files/file_contexts"
    run("chroot", str(root), "setfiles", "-F", contexts, "/")
