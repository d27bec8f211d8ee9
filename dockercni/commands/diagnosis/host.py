"""The host: privileges, confinement, forwarding, cgroups, settings, directories."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dockercni.cni import trust
from dockercni.commands.diagnosis.finding import Finding, fail, ok, warn
from dockercni.linux import capabilities, cgroups, routing, sysctl
from dockercni.settings import RENAME, Settings

_FORWARDING: Final = routing.SETTINGS[4]


def findings(settings: Settings) -> Iterator[Finding]:
    """Everything that does not depend on the engine or on a network."""
    yield from _rights()
    yield from _forwarding()
    yield _cgroups()
    for one in settings.renamed:
        yield warn("settings", one, RENAME)
    for key, directory in (
        ("cni-cache-dir", settings.cni_cache_dir),
        ("state-dir", settings.state_dir),
        ("run-dir", settings.run_dir),
        ("netns-dir", settings.netns_dir),
    ):
        yield directory_finding(key, directory)
    for directory in (settings.cni_conf_dir, *settings.cni_bin_dir, settings.cni_cache_dir, settings.state_dir):
        flaw_of = trust.flaw_of_program if directory in settings.cni_bin_dir else trust.flaw_of
        if flaw := flaw_of(directory):
            yield not_obeyed(flaw)


def _rights() -> Iterator[Finding]:
    if os.geteuid() != 0:
        yield fail("rights", "not root: only root can change network namespaces", "sudo dockercni doctor")
    elif lacking := capabilities.missing():
        flags = " ".join(f"--cap-add {name.removeprefix('CAP_')}" for name in lacking)
        yield fail("rights", f"root, but without {', '.join(lacking)}", f"in a sidecar: {flags}")
    else:
        yield ok("rights", "root, with all capabilities that are needed")
    if label := capabilities.confinement():
        yield warn(
            "confinement",
            f"this process is confined ({label}); mounts and signals may be denied",
            "in a sidecar: --security-opt apparmor=unconfined --security-opt label=disable",
        )
    else:
        yield ok("confinement", "no security module confines this process")


def _forwarding() -> Iterator[Finding]:
    try:
        on = sysctl.read(_FORWARDING) != "0"
    except OSError as error:
        yield warn("forwarding", f"{sysctl.ROOT}/{_FORWARDING}: {error.strerror}")
        return
    if on:
        yield ok("forwarding", "net.ipv4.ip_forward is 1")
    else:  # plugins with isGateway switch it on, the others rely on it
        yield warn(
            "forwarding",
            "net.ipv4.ip_forward is 0: containers reach only this host until a plugin switches it on",
            "sysctl -w net.ipv4.ip_forward=1",
        )
    if not os.access(f"{sysctl.ROOT}/{_FORWARDING}", os.W_OK):
        yield warn(
            "forwarding",
            "/proc/sys is not writable: plugins will fail",
            "in a sidecar: --security-opt systempaths=unconfined",
        )


def _cgroups() -> Finding:
    layout = cgroups.layout()
    if not layout:
        return warn("cgroups", "no cgroups are mounted at /sys/fs/cgroup", "in a sidecar: --cgroupns=host")
    return ok("cgroups", f"cgroup {layout}")


def not_obeyed(flaw: str) -> Finding:
    """The finding for a file or directory that other users can change; `flaw` is what `trust` says about it."""
    about, _, fix = flaw.partition(": ")
    return fail("trust", f"not obeyed: {about}", fix)


def directory_finding(key: str, directory: Path) -> Finding:
    """Whether the directory, or the nearest existing one above it, can be written."""
    place = next(one for one in (directory, *directory.parents) if one.exists())
    if not place.is_dir():
        return fail(key, f"{place} is not a directory", f"set {key}")
    if not os.access(place, os.W_OK | os.X_OK):
        return fail(key, f"{place} is not writable", f"mount it writable, or set {key}")
    space = os.statvfs(place)
    if space.f_blocks and not space.f_bavail:
        return fail(key, f"the file system of {place} is full", f"df {place}")
    if space.f_files and not space.f_ffree:
        return fail(key, f"the file system of {place} has no inode left", f"df -i {place}")
    return ok(key, f"{directory} is writable" if place == directory else f"{directory} can be created")
