"""`dockercni networks init`: write a configuration file that is like the built-in network."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dockercni import render
from dockercni.cni import Cache, CNIError, Directory, load_directory, parse_list
from dockercni.docker.client import Client
from dockercni.errors import DockercniError, UsageError
from dockercni.reconcile import drafts, networks, occupied, state
from dockercni.reconcile.history import History

if TYPE_CHECKING:
    from dockercni.commands.table import Invocation
    from dockercni.model import IPNetwork
    from dockercni.reconcile.occupied import Occupied
    from dockercni.settings import Settings


class NotWritten(DockercniError):
    """The file could not be written, or exists already."""


def run(invocation: Invocation) -> int:
    """Write the file and print its path."""
    settings, args = invocation.settings, invocation.args
    name = args.name or networks.BUILT_IN
    wanted = drafts.asked(args.subnet)
    _check_name(name)
    if args.default and settings.default_network not in {"", name}:
        raise UsageError(
            f'--default has no effect while the setting default-network is "{settings.default_network}"; change that'
        )
    with _alone(settings.cni_conf_dir):
        directory = load_directory(settings.cni_conf_dir)
        there = _present(name, directory, force=args.force)
        default = args.default or _is_default(there, directory, settings, name)
        taken = _survey(name, directory, settings)
        subnets = _checked(wanted, taken) if wanted else (_chosen(settings, name, taken),)
        path = there or settings.cni_conf_dir / drafts.file_name(name, _first(directory), default=default)
        bridge = drafts.bridge_name(name, taken.bridges)
        network = drafts.conflist(name, subnets, bridge, default=default)
        _write(path, json.dumps(network, indent=2) + "\n", force=args.force)
    render.line(f"{path}: network {name} with {' and '.join(map(str, subnets))}")
    return 0


def _check_name(name: str) -> None:
    try:
        parse_list(json.dumps({"cniVersion": "1.0.0", "name": name, "plugins": [{"type": "bridge"}]}).encode())
    except CNIError as error:
        raise UsageError(f"--name {name}: {error}") from error


def _present(name: str, directory: Directory, *, force: bool) -> Path | None:
    """The existing file of that network, to be overwritten; None if there is none.

    Raises NotWritten unless `force` is given and the file is named as this command names files.
    """
    for path, found in directory.files:
        if getattr(found, "name", None) == name:
            if not path.name.endswith(f"-{name}.conflist"):
                raise NotWritten(f'{path} already describes a network "{name}"; choose another name')
            if not force:
                raise NotWritten(f"{path} exists; --force overwrites it")
            return path
    return None


def _is_default(there: Path | None, directory: Directory, settings: Settings, name: str) -> bool:
    """Whether the network becomes the default without --default: only if it is the default, or if there is none.

    The built-in network counts as a default while containers use it: they would change networks at their next start.
    """
    eligible = Directory(tuple(networks.eligible(directory)))
    if settings.default_network:
        return settings.default_network == name
    if eligible.files:
        return there is not None and min(path.name for path, _ in eligible.files) == there.name
    return name == networks.BUILT_IN or not _built_in_serves(settings)


def _built_in_serves(settings: Settings) -> bool:
    history = History(settings.state_dir / "containers")
    with contextlib.suppress(OSError, state.StateError):
        if any(past.network == networks.BUILT_IN for each in history.known() for past in history.recall(each)):
            return True
    entries = Cache(settings.cni_cache_dir).entries()
    return any(entry.network == networks.BUILT_IN for entry in entries)


def _first(directory: Directory) -> str | None:
    return min((path.name for path, _ in directory.files), key=os.fsencode, default=None)


def _survey(name: str, directory: Directory, settings: Settings) -> Occupied:
    client, cache = Client(settings.docker_host), Cache(settings.cni_cache_dir)
    try:
        return occupied.survey(name, directory, client, cache, settings.state_dir)
    except OSError as error:
        raise NotWritten(f"cannot read the host's routes: {error}") from error


def _checked(wanted: Sequence[IPNetwork], taken: Occupied) -> tuple[IPNetwork, ...]:
    for subnet in wanted:
        drafts.refuse_taken(subnet, taken.claimed, taken.used)
    return tuple(wanted)


def _chosen(settings: Settings, name: str, taken: Occupied) -> IPNetwork:
    """The subnet that the built-in network has used, if this file replaces it; else the first free one."""
    if name == networks.BUILT_IN:
        kept = state.read(settings.state_dir / networks.SUBNET_FILE, dict[str, str], {}).get("subnet")
        if kept:
            return drafts.asked([kept])[0]
    return drafts.free(taken.everything)


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold a lock, so that two runs at once do not choose the same free subnet. Raises NotWritten."""
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotWritten(f"cannot use {directory}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _write(path: Path, text: str, *, force: bool) -> None:
    """Write the file by rename or link, so that a daemon never reads a part of it. Raises NotWritten."""
    try:
        fd, temporary = tempfile.mkstemp(prefix=".dockercni-", dir=path.parent)
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                os.fchmod(fd, 0o644)
                file.write(text)
            if force:
                os.replace(temporary, path)
            else:
                os.link(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
    except FileExistsError as error:
        raise NotWritten(f"{path} exists; --force overwrites it") from error
    except OSError as error:
        raise NotWritten(f"cannot write {path}: {error.strerror}") from error
