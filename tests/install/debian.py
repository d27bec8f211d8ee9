"""A root of this machine's own release, made by debootstrap: what is on a fresh host, and the base of the sidecar.

Of the same release, because the package is for the Python of the one that it was built on.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from pathlib import Path

SYSTEM = platform.freedesktop_os_release()
RELEASE = SYSTEM["VERSION_CODENAME"]
COMPONENTS = "main,universe" if SYSTEM["ID"] == "ubuntu" else "main"
PACKAGES = (
    *(() if RELEASE == "bookworm" or SYSTEM["ID"] == "ubuntu" else ("docker-cli",)),  # its own package since Debian 13
    "busybox-static",
    "ca-certificates",
    "containernetworking-plugins",
    "curl",
    "dbus",
    "docker.io",
    "iproute2",
    "iptables",
    "nftables",
    "procps",
    "python3-pip",
    "python3-venv",
    "systemd",
    "systemd-sysv",
)
# Neither is looked at by any test.
LEFT_OUT = ("./var/cache/apt/archives/*", "./var/lib/apt/lists/*", "./usr/share/locale/*", "./usr/share/man/*")


def tarball(scratch: Path) -> Path:
    """A tar file of the root: from the directory KEEP of an earlier run if there is one, else made below `scratch`."""
    key = hashlib.sha256(" ".join([RELEASE, *PACKAGES]).encode()).hexdigest()[:12]
    kept = Path(os.environ.get("KEEP") or scratch) / f"debian-{key}.tar"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        root = scratch / "root"
        include = f"--include={','.join(PACKAGES)}"
        _run("debootstrap", "--variant=minbase", f"--components={COMPONENTS}", include, RELEASE, str(root))
        partial = kept.with_suffix(".partial")
        _run("tar", "-C", str(root), *(f"--exclude={path}" for path in LEFT_OUT), "-cf", str(partial), ".")
        partial.rename(kept)
        _run("rm", "-r", "--one-file-system", str(root))
    return kept


def _run(*argv: str) -> None:
    done = subprocess.run(argv, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=500)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout[-4000:]}"
