"""Delegation to the IPAM plugin that `ipam.type` names: same stdin and environment, only CNI_COMMAND differs.

A plugin of this process serves if it supports the configuration, else the executable. DEL need not be served by what
served ADD, because both use the same leases.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from dockercni.cni import result
from dockercni.cni.runner import EXEC
from dockercni.plugins import dispatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dockercni.cni.result import Result
    from dockercni.plugins.contract import Request


def kind(request: Request) -> str:
    """The type of the IPAM plugin; "" if the configuration has none. Raises DocumentError."""
    return request.fields.object("ipam").string("type")


# They keep their addresses in files of this host. Others may need the link to ask a server.
_LOCAL: Final = ("", "host-local", "static")


def needs_link(plugin: str) -> bool:
    """Whether the IPAM plugin of that type works over the link, which then has to pass traffic, as `dhcp` does."""
    return plugin not in _LOCAL


def add(request: Request) -> Result:
    """Reserve addresses; the result is in the version in which the IPAM plugin printed it. Raises CNIError."""
    return result.parse(_run(request, "ADD"), request.cni_version)


def check(request: Request) -> None:
    """Whether what was reserved still is. Raises CNIError."""
    _run(request, "CHECK")


def delete(request: Request) -> None:
    """Give back; nothing to give back is success. Raises CNIError."""
    _run(request, "DEL")


def status(request: Request) -> None:
    """Whether addresses could be reserved now. Raises CNIError."""
    _run(request, "STATUS")


def gc(request: Request) -> None:
    """Give back what no valid attachment has. Raises CNIError."""
    _run(request, "GC")


def backend(plugin: str, conf: Mapping[str, Any]) -> str:
    """What serves the IPAM plugin of that type for a plugin of this process with the configuration `conf`."""
    return EXEC if dispatch.refusal(plugin, conf) else dispatch.BUILTIN


def _run(request: Request, verb: str) -> Any:
    plugin = kind(request)
    chosen = backend(plugin, request.conf)
    environment = {**request.call.environment, "CNI_COMMAND": verb}
    return request.runner.run(replace(request.call, plugin=plugin, verb=verb, environment=environment, backend=chosen))
