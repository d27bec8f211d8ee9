"""`dockercni networks init`: a first configuration file, made from the built-in network."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockercni import render
from dockercni.cni import CNIError, load_directory, parse_list
from dockercni.errors import DockercniError, UsageError
from dockercni.kernel import facts
from dockercni.reconcile import networks, state

if TYPE_CHECKING:
    from dockercni.commands.table import Request
    from dockercni.settings import Settings


class NotWritten(DockercniError):
    """The file could not be written, or is there already."""


def run(request: Request) -> int:
    """Write the file and print its path."""
    settings, args = request.settings, request.args
    name = args.name or networks.BUILT_IN
    subnet = _given(args.subnet) if args.subnet else _subnet(settings, name)
    network = _network(name, subnet)
    try:
        parse_list(json.dumps(network).encode())
    except CNIError as error:
        raise UsageError(f"--name {name}: {error}") from error
    path = settings.cni_conf_dir / f"10-{name}.conflist"
    for other, found in load_directory(settings.cni_conf_dir).files:
        if other != path and getattr(found, "name", None) == name:
            raise NotWritten(f'{other} describes a network "{name}" already')
    _write(path, json.dumps(network, indent=2) + "\n", force=args.force)
    render.line(f"{path}: network {name} with {subnet}")
    return 0


def _given(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise UsageError(f"--subnet {text}: {error}") from error


def _subnet(settings: Settings, name: str) -> str:
    """That of the built-in network, if it has served and this replaces it; else the first that is free."""
    if name == networks.BUILT_IN:
        chosen = state.read(settings.state_dir / networks.SUBNET_FILE, dict[str, str], {}).get("subnet")
        if chosen:
            return chosen
    return networks.free_subnet(facts.routed(besides=_bridge(name)))


def _bridge(name: str) -> str:
    """The name of its bridge, which may have 15 characters."""
    return networks.BUILT_IN_BRIDGE if name == networks.BUILT_IN else f"{name[:14]}0"


def _network(name: str, subnet: str) -> dict[str, Any]:
    network: dict[str, Any] = json.loads(networks.built_in_network(subnet).raw)
    network["name"] = name
    bridge = network["plugins"][0]
    bridge["bridge"] = _bridge(name)
    if ":" in subnet:
        bridge["ipam"]["routes"] = [{"dst": "::/0"}]
    return network


def _write(path: Path, text: str, *, force: bool) -> None:
    """Put the whole file there at once: a daemon may be reading. Raises NotWritten."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
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
        raise NotWritten(f"{path} is there already; --force overwrites it") from error
    except OSError as error:
        raise NotWritten(f"cannot write {path}: {error.strerror}") from error
