"""What this process may do: its capabilities, and the security module that confines it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

# linux/capability.h
NUMBERS: Final = {
    "CAP_DAC_OVERRIDE": 1,
    "CAP_KILL": 5,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
}

_UNCONFINED_DOMAINS: Final = ("unconfined_t", "unconfined_service_t", "spc_t", "kernel_t")
_NO_PROFILE: Final = ("", "unconfined", "kernel")  # the last is what SELinux says while it has no policy
_NOT_ENFORCED: Final = ("complain)", "unconfined)")  # the modes of a profile that AppArmor only writes to the log


def missing(status: str | None = None) -> list[str]:
    """Which of NUMBERS this process does not have in effect; `status` is the text of /proc/self/status."""
    text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace") if status is None else status
    line = next((line for line in text.splitlines() if line.startswith("CapEff:")), "CapEff: 0")
    effective = int(line.split()[1], 16)
    return [name for name, number in NUMBERS.items() if not effective >> number & 1]


def obstacle() -> str:
    """Why this process may not hold others at their execve; empty if nothing is known to be in the way."""
    if "CAP_SYS_PTRACE" in missing(_read("/proc/self/status")):
        return "CAP_SYS_PTRACE is missing"
    if _read("/proc/sys/kernel/yama/ptrace_scope") == "3":
        return "kernel.yama.ptrace_scope is 3: nobody may trace"
    label = confinement()
    return f"we are confined ourselves ({label}), and the kernel may refuse the execve" if label else ""


def confinement() -> str:
    """The AppArmor profile or SELinux domain that confines this process; "" where none does."""
    label = _read("/proc/self/attr/apparmor/current") or _read("/proc/self/attr/current")
    context = label.split(":")
    if len(context) > 3:
        confined = context[2] not in _UNCONFINED_DOMAINS and _read("/sys/fs/selinux/enforce") != "0"
    else:
        profile, _, mode = label.partition(" (")
        confined = profile not in _NO_PROFILE and mode not in _NOT_ENFORCED
    return label if confined else ""


def cgroup_layout(root: Path = Path("/sys/fs/cgroup")) -> str:
    """ "v2", "v1" or "hybrid"; "" where no cgroups are mounted."""
    if (root / "cgroup.controllers").exists():
        return "v2"
    if not root.is_dir() or not any(root.iterdir()):
        return ""
    return "hybrid" if (root / "unified" / "cgroup.controllers").exists() else "v1"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""
