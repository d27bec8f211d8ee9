"""May this process trace others? May a container change its network? By capabilities and security modules."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from dockercni.linux.netns import Namespace

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
_SELINUX: Final = "/sys/fs/selinux"
_NO_PROFILE: Final = ("", "unconfined", "kernel")  # SELinux without a policy reports "kernel"
_NOT_ENFORCED: Final = ("complain)", "unconfined)")  # modes in which AppArmor only logs


def missing(status: str | None = None) -> list[str]:
    """Which of NUMBERS are not in this process's effective set; `status` is the text of /proc/self/status."""
    text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace") if status is None else status
    line = next((line for line in text.splitlines() if line.startswith("CapEff:")), "CapEff: 0")
    effective = int(line.split()[1], 16)
    return [name for name, number in NUMBERS.items() if not effective >> number & 1]


def obstacle() -> str:
    """Why this process may not hold others at their execve; "" if nothing known prevents it.

    The only answer to that question: the daemon acts on it, and `doctor` reports its parts, `missing` and
    `confinement`.
    """
    if "CAP_SYS_PTRACE" in missing(_read("/proc/self/status")):
        return "CAP_SYS_PTRACE is missing"
    if _read("/proc/sys/kernel/yama/ptrace_scope") == "3":
        return "kernel.yama.ptrace_scope is 3, which forbids all tracing until the next boot"
    label = confinement()
    return f"this process is confined ({label}), so the kernel may refuse the execve of what it traces" if label else ""


def may_configure(namespace: Namespace) -> bool:
    """Whether a container's program in a network namespace has CAP_NET_ADMIN over it, or can gain it.

    Containers that joined the namespace count as well. Tools of the host that visit it do not, nor do stages of a
    runtime, which have every capability and run nothing of the container's yet.
    """
    owners = namespace.owners()
    host = {_identity("/proc/1/root"), _identity("/proc/self/root")}
    return any(
        _identity(f"/proc/{pid}/root") not in host
        and _identity(f"/proc/{pid}/ns/user") in owners
        and not _is_runtime(pid)
        and _may_administer(pid)
        for pid in namespace.processes()
    )


def _may_administer(pid: int) -> bool:
    """Whether CAP_NET_ADMIN is permitted, or within bounds of what set-user-ID programs and file capabilities give."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:  # it has ended
        return False
    # the kernel escapes line ends in a process's name, so the container cannot forge a line
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    held = int(fields["CapPrm"], 16)
    if int(fields.get("NoNewPrivs", "0")) == 0:
        held |= int(fields["CapBnd"], 16)
    return bool(held >> NUMBERS["CAP_NET_ADMIN"] & 1)


def _is_runtime(pid: int) -> bool:
    try:
        name = Path(f"/proc/{pid}/comm").read_bytes().rstrip()
    except OSError:  # it has ended
        return True
    return name.startswith(b"runc:[") or name == b"crun"


def _identity(path: str) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)
    except OSError:  # it has ended
        return None
    return stat.st_dev, stat.st_ino


def confinement() -> str:
    """The AppArmor profile or SELinux domain that confines this process; "" where none does."""
    label = _read("/proc/self/attr/apparmor/current") or _read("/proc/self/attr/current")
    context = label.split(":")
    if len(context) > 3:
        confined = (
            context[2] not in _UNCONFINED_DOMAINS and _read(f"{_SELINUX}/enforce") != "0" and not _may_trace_init(label)
        )
    else:
        profile, _, mode = label.partition(" (")
        confined = profile not in _NO_PROFILE and mode not in _NOT_ENFORCED
    return label if confined else ""


def _may_trace_init(label: str) -> bool:
    """Whether SELinux's policy lets our domain trace process 1's.

    The names of domains depend on the policy: Debian's runs services that it does not know as initrc_t, and allows that
    domain everything while its module "unconfined" is loaded. A domain that may trace init is not confined.
    """
    init = _read("/proc/1/attr/current")
    if init.split(":")[2:3] == label.split(":")[2:3]:  # in a container, process 1 is as confined as we are
        return False
    try:
        kind = _read(f"{_SELINUX}/class/process/index")
        bit = int(_read(f"{_SELINUX}/class/process/perms/ptrace")) - 1
        return bool(int(_decision(f"{label} {init} {kind}").split()[0], 16) >> bit & 1)
    except (OSError, ValueError, IndexError):
        return False


def _decision(question: str) -> str:
    """The kernel's answer to "context context class", which begins with the permissions as hexadecimal bits."""
    fd = os.open(f"{_SELINUX}/access", os.O_RDWR | os.O_CLOEXEC)
    try:
        os.write(fd, question.encode())
        return os.pread(fd, 4096, 0).decode("ascii", "replace")
    finally:
        os.close(fd)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""
