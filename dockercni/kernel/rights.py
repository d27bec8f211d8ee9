"""What this process may do: its capabilities, and the security module that confines it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

# linux/capability.h
NUMBERS: Final = {
    "CAP_DAC_OVERRIDE": 1,
    "CAP_KILL": 5,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
}


def missing(status: str | None = None) -> list[str]:
    """Which of NUMBERS this process does not have in effect; `status` is the text of /proc/self/status."""
    text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace") if status is None else status
    line = next((line for line in text.splitlines() if line.startswith("CapEff:")), "CapEff: 0")
    effective = int(line.split()[1], 16)
    return [name for name, number in NUMBERS.items() if not effective >> number & 1]


def confinement() -> str:
    """The AppArmor profile or SELinux domain that confines this process; "" where none does."""
    try:
        label = Path("/proc/self/attr/current").read_text(encoding="utf-8", errors="replace").strip(" \n\0")
    except OSError:  # no module that has labels
        return ""
    if not label or label.startswith("unconfined") or ":unconfined_" in label or label == "kernel":
        return ""
    return label


def cgroup_layout(root: Path = Path("/sys/fs/cgroup")) -> str:
    """ "v2", "v1" or "hybrid"; "" where no cgroups are mounted."""
    if (root / "cgroup.controllers").exists():
        return "v2"
    if not root.is_dir() or not any(root.iterdir()):
        return ""
    return "hybrid" if (root / "unified" / "cgroup.controllers").exists() else "v1"
