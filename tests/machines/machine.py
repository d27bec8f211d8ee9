"""A whole host in a container: Debian with systemd as process 1, and an engine of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tests.hosts import IMAGE, NoAnswer, copy_tree, serve_tcp, wait_until

if TYPE_CHECKING:
    import subprocess

    from tests.hosts import Host
    from tests.machines.debian import Release

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What systemd, the engine in it and dockercni need beyond Docker's default; --privileged would ask for SYS_RESOURCE,
# which not every sandbox has.
CAPABILITIES = (
    "AUDIT_CONTROL",
    "DAC_READ_SEARCH",
    "IPC_LOCK",
    "NET_ADMIN",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PTRACE",
)
# The release's directory is shared by all machines, so each writes into a layer of its own above it.
BOOT = """
set -e
mkdir /changes/upper /changes/work
mount -t overlay -o lowerdir=/kept/$2,upperdir=/changes/upper,workdir=/changes/work overlay /root
mkdir -p /root/kept /root/var/lib/docker /root/var/lib/containerd
hostname > /root/etc/hostname
# Nobody answers: without a name server a question fails at once, and costs no start its time-out.
: > /root/etc/resolv.conf
for each in proc sys dev run tmp kept var/lib/docker var/lib/containerd; do mount --move /$each /root/$each; done
cd /root
pivot_root . mnt
exec chroot . /bin/sh -euc '
umount -l /mnt
if [ $1 = 2 ]; then
    umount -R /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
    # Docker mounts cgroups read-only; systemd and the engine inside make their own.
    for each in /sys/fs/cgroup /sys/fs/cgroup/*/; do mount -o remount,bind,rw $each; done
fi
# As systemd does on a host that it finds without a container around it, and as the sidecar needs.
mount --make-rshared /
for each in all default; do echo 0 > /proc/sys/net/ipv6/conf/$each/disable_ipv6; done
exec /sbin/init' boot $1
"""
HOME = "/root/dockercni"
KEPT = "/kept"


class Machine:
    """Booted when it is made; `exec` runs a program in it."""

    def __init__(self, host: Host, name: str, release: Release) -> None:
        self.host = host
        self.name = name
        self.release = release
        root = release.root()
        host.docker(
            "run",
            "--detach",
            f"--name={name}",
            f"--hostname={name}",
            *(f"--cap-add={capability}" for capability in CAPABILITIES),
            *(f"--security-opt={option}=unconfined" for option in ("seccomp", "apparmor", "systempaths")),
            "--cgroupns=private",
            "--tmpfs=/run:exec,mode=755",
            "--tmpfs=/tmp:exec",
            f"--volume={root.parent}:{KEPT}:ro",
            "--volume=/changes",
            # What an engine mounts as a layer cannot be on layers itself.
            "--volume=/var/lib/docker",
            "--volume=/var/lib/containerd",
            "--env=container=docker",
            IMAGE,
            *("/bin/sh", "-c", BOOT, "boot", str(release.cgroups), root.name),
        )
        self.pid = int(host.docker("inspect", "--format={{.State.Pid}}", name))
        self.address = host.docker("inspect", "--format={{.NetworkSettings.IPAddress}}", name)
        wait_until(lambda: self.state() in {"running", "degraded"}, 60, "the end of the boot", self.said)
        wait_until(lambda: self.run("docker", "version", check=False).returncode == 0, 60, "its engine", self.said)

    def put_tree(self, tree: Path) -> None:
        """Copy a tree into it, with a virtual environment for its own Python, as a developer there would have."""
        copy_tree(tree, self.path(HOME))
        self.run("make", f"--directory={HOME}", "venv", "test-tools", env=self.offline(), timeout=300)

    def offline(self) -> tuple[str, ...]:
        """Environment of programs that would download something, which is not possible there."""
        return (f"KEEP={KEPT}", "PIP_NO_INDEX=1", f"PIP_FIND_LINKS={KEPT}/{self.release.wheels().name}")

    def service(self, *argv: str, env: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The command that runs a program in the tree as a service of its systemd, with the caller's output.

        What runs long belongs there: a process that comes by `docker exec` is in no cgroup that systemd has made.
        """
        settings = (f"--setenv={one}" for one in (f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8", *self.offline(), *env))
        wait = ("--pipe", "--wait", "--collect", "--quiet", "--service-type=exec", f"--working-directory={HOME}")
        return ("docker", "exec", self.name, "systemd-run", *wait, *settings, "/usr/bin/env", *argv)

    def state(self) -> str:
        """What systemd says of the whole machine."""
        return self.run("systemctl", "is-system-running", check=False).stdout.strip()

    def run(
        self, *argv: str, check: bool = True, timeout: float = 120, env: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in it; `env` has NAME=VALUE."""
        flags = [f"--env={one}" for one in env]
        path = f"--env=PATH={PATH}"  # that of whoever logs in there
        return self.host.run("docker", "exec", path, *flags, self.name, *argv, check=check, timeout=timeout)

    def shell(self, script: str, *, check: bool = True, timeout: float = 120) -> str:
        """What a script for sh prints."""
        return self.run("/bin/sh", "-euc", script, check=check, timeout=timeout).stdout

    def docker(self, *argv: str) -> str:
        """What `docker ...` of its own engine prints."""
        return self.run("docker", *argv).stdout.rstrip("\n")

    def path(self, inside: str) -> Path:
        """Where a file of it can be reached from outside; its directory is made."""
        path = Path(f"/proc/{self.pid}/root") / inside.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def put(self, file: Path) -> str:
        """Copy a file into it; the path that it has there."""
        self.path(f"/root/{file.name}").write_bytes(file.read_bytes())
        return f"/root/{file.name}"

    def unit(self, name: str, key: str) -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", f"--property={key}", "--value", name).stdout.strip()

    def said(self) -> str:
        """What its boot has printed, and its journal."""
        printed = self.host.run("docker", "logs", self.name, check=False)
        return printed.stdout + printed.stderr + self.run("journalctl", "--no-pager", check=False).stdout[-8000:]

    def journal(self, unit: str = "dockercni") -> str:
        """What a unit has logged."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}", check=False).stdout

    def web(self, name: str, port: int, *flags: str) -> str:
        """Start a container with a web server on a published port, which says what it sees at its first instruction."""
        serve = " ".join(serve_tcp(80))
        command = ("sh", "-c", f"ip -4 -o address show dev eth0; exec {serve}")
        options = ("--detach", f"--name={name}", "--network=none", f"--publish={port}:80")
        return self.docker("run", *options, *flags, IMAGE, *command)

    def first_words(self, name: str) -> str:
        """What a container said so far."""
        done = self.run("docker", "logs", name)
        return done.stdout + done.stderr

    def address_of(self, name: str) -> str:
        """The IPv4 address on eth0 of a container; "" if there is none."""
        shown = self.run("docker", "exec", name, "ip", "-4", "-o", "address", "show", "dev", "eth0", check=False).stdout
        return shown.split()[3] if shown else ""

    def answers(self, port: int) -> bool:
        """Whether a published port answers to another machine."""
        try:
            return b"peer=" in self.host.tcp_request(self.address, port, timeout=2)
        except NoAnswer:
            return False

    def traces(self) -> set[str]:
        """One line for each file, link and rule that a program may leave behind.

        iptables makes its own tables when they are first written to, and keeps them when they are empty.
        """
        files = self.shell(
            "find /etc /opt /run/dockercni /run/netns /usr/bin /usr/lib/dockercni /usr/lib/systemd /usr/lib/tmpfiles.d "
            "/usr/share/bash-completion /usr/share/zsh /usr/share/fish /var/lib/cni /var/lib/dockercni "
            "/var/lib/systemd/deb-systemd-helper-* 2>/dev/null",
            check=False,
        )
        links = [link["ifname"] for link in json.loads(self.run("ip", "-json", "link").stdout)]
        rules = self.shell("iptables-save; ip6tables-save; nft list tables", check=False)
        kept = [
            line
            for line in rules.splitlines()
            if line.startswith(("-A", "table", ":CNI")) and line not in {"table ip filter", "table ip6 filter"}
        ]
        return {*files.split("\n"), *(f"link {name}" for name in links), *kept}

    def close(self) -> None:
        """End it."""
        self.host.docker("rm", "--force", "--volumes", self.name, check=False)
