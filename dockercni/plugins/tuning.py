"""tuning: sysctls of the container's network namespace, and MAC, flags, MTU and queue of its interface.

Reference: plugins/meta/tuning. Deviations: everything is checked before anything is changed; CHECK treats any white
space between the numbers of a sysctl as equal; a backup is removed with its interface.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockercni.linux import links, sysctl
from dockercni.linux.netlink import Netlink
from dockercni.linux.netns import Namespace, NamespaceGone
from dockercni.plugins import backups, keys, sysctls, tuning_conf
from dockercni.plugins.contract import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockercni.cni.result import Result
    from dockercni.linux.links import Link
    from dockercni.plugins.contract import Request


def unsupported(conf: Mapping[str, Any]) -> str:
    """See Plugin."""
    return keys.unknown(conf, tuning_conf.KEYS)


def validate(request: Request) -> None:
    """See Plugin."""
    conf = tuning_conf.read(request)
    sysctls.check_allowed(conf.sysctls)
    sysctls.paths(conf.sysctls, request.ifname)
    tuning_conf.changes(request.ifname, conf)


def add(request: Request) -> Result:
    """prevResult, with the new MAC if there is one. Raises PluginFailure, OSError for what the kernel refuses."""
    conf = tuning_conf.read(request)
    sysctls.check_allowed(conf.sysctls)
    previous = _previous(request)
    files = sysctls.paths(conf.sysctls, request.ifname)
    messages = tuning_conf.changes(request.ifname, conf)
    with Namespace.open(request.netns) as namespace, _socket(namespace) as socket:
        found = _link(socket, request.ifname) if messages else None
        namespace.run(lambda: _write(files))
        if found is not None:
            backups.save(_backup(request), conf, found)
        for message in messages:
            socket.do(message)
    if not conf.mac:
        return previous
    changed = (replace(each, mac=conf.mac) if each.name == request.ifname else each for each in previous.interfaces)
    return replace(previous, interfaces=tuple(changed), raw={})


def check(request: Request) -> None:
    """Compare every configured value with what is there. Raises PluginFailure for the first that differs."""
    conf = tuning_conf.read(request)
    _previous(request)
    files = sysctls.paths(conf.sysctls, request.ifname)
    with Namespace.open(request.netns) as namespace:
        values = namespace.run(lambda: {file: Path(file).read_text(encoding="utf-8") for file in files})
        for file, wanted in files.items():
            if values[file].split() != wanted.split():
                current = values[file].removesuffix("\n")
                raise tuning_conf.differs(f"value of {file}", wanted, current)
        with _socket(namespace) as socket:
            found = links.find(socket, request.ifname)
    if found is None:
        raise PluginFailure(f"Cannot find container link {request.ifname}")
    tuning_conf.check(request.ifname, conf, found)


def delete(request: Request) -> None:
    """Restore the interface's state before ADD. What cannot be restored is no error, and its backup stays."""
    tuning_conf.read(request)
    file = _backup(request)
    saved = backups.load(file)
    if saved is None:
        return
    try:
        with Namespace.open(request.netns) as namespace, _socket(namespace) as socket:
            if links.find(socket, request.ifname) is not None and socket.try_all(
                tuning_conf.restoring(request.ifname, saved)
            ):
                return
    except NamespaceGone:
        pass
    backups.forget(file)


def status(request: Request) -> None:
    """An ADD can be served if the configuration is good."""
    validate(request)


def gc(request: Request) -> None:
    """Backups of all networks are in one directory, and do not name theirs, so none can be known to be garbage."""


def _previous(request: Request) -> Result:
    previous = request.previous
    if previous is None:
        raise PluginFailure("Required prevResult missing")
    return previous


def _backup(request: Request) -> Path:
    return backups.path(request.fields.string("dataDir"), request.container_id, request.ifname)


def _socket(namespace: Namespace) -> Netlink:
    return namespace.run(Netlink)


def _link(socket: Netlink, ifname: str) -> Link:
    found = links.find(socket, ifname)
    if found is None:
        raise PluginFailure(f'failed to get "{ifname}": Link not found')
    return found


def _write(files: Mapping[str, str]) -> None:
    for file, value in files.items():
        fd = os.open(file, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            with sysctl.turn:
                os.write(fd, value.encode())
        finally:
            os.close(fd)
