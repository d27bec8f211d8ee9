"""Runs executables, and makes up for what the reference plugins do not do.

bridge: without `mtu` the container's MTU is 1500 whatever the bridge's is. At DEL the link is removed before the IPAM
plugin gives the address back, which DHCP can only do over the link.
dhcp: without an answer from a server it asks for a minute, and then reports "no more tries". Without its daemon its DEL
fails, and plugins that delegate to it keep a link whose address the server will assign again.
host-local: it does not check who else can change its leases.
portmap: it redirects connections to ports of ::1, whose answers cannot come back, so clients wait for ever.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from dockercni.cni import trust
from dockercni.cni.errors import CNIError, ErrorCode, PluginError
from dockercni.cni.runner import EXEC
from dockercni.cni.strict_json import DocumentError, Fields
from dockercni.linux import host_links
from dockercni.plugins import dhcp, ipam, leases

if TYPE_CHECKING:
    from dockercni.cni.runner import PluginCall, PluginRunner

_BRIDGE: Final = "bridge"
_PORTMAP: Final = "portmap"
_HOST_LOCAL: Final = "host-local"
_KEEPS_NOTHING: Final = {"type": "static"}
_USUAL: Final = 1500  # the MTU that a new link has anyway


def run(call: PluginCall, runner: PluginRunner, patience: float | None) -> Any:
    """Run `call` by `runner`; a plugin that waits for a DHCP server has `patience` seconds. Raises as `runner` does."""
    answer = _run(call, runner, patience)
    if call.verb == "ADD" and call.plugin == _PORTMAP:
        _refuse_loopback()
    return answer


def _refuse_loopback() -> None:
    """Have our table refuse what portmap redirects from ::1. It only spares clients the wait, so it fails no ADD."""
    from dockercni.linux import nft  # noqa: PLC0415  the library is not needed for anything else here
    from dockercni.plugins import ruleset  # noqa: PLC0415  as is our table

    try:
        if nft.available():
            ruleset.refuse_loopback()
    except (OSError, nft.NftablesError) as error:
        logging.getLogger(__name__).warning("clients of [::1] will wait for published ports: %s", error)


def _run(call: PluginCall, runner: PluginRunner, patience: float | None) -> Any:
    fields = Fields(call.config)
    try:
        socket = dhcp.socket_of(fields.values)
        if socket and call.verb == "DEL" and not dhcp.listens(socket):
            return _without_daemon(call, fields, runner)
        if call.verb == "ADD":
            _check_store(call, fields)
        if call.plugin == _BRIDGE:
            call = _prepared(call, fields, runner, patience)
    except (DocumentError, OSError):  # the executable reports what is wrong
        return runner.run(call)
    if not socket:
        return runner.run(call)
    try:
        return runner.run(replace(call, timeout=patience))
    except PluginError as error:
        if call.verb == "ADD":
            error.details = error.details or dhcp.explain(fields.values, error)
        raise


def _check_store(call: PluginCall, fields: Fields) -> None:
    """Raise PluginError if others can change the leases: host-local follows links there, and trusts their content.

    Only for ADD: existing leases are given back in any case.
    """
    conf = fields.object("ipam")
    if conf.string("type") == _HOST_LOCAL:
        flaw = trust.flaw_of(leases.directory(conf.string("dataDir"), fields.string("name")))
        if flaw:
            raise PluginError(call.plugin, "ADD", f"host-local: {flaw}", code=ErrorCode.IO_FAILURE)


def _prepared(call: PluginCall, fields: Fields, runner: PluginRunner, patience: float | None) -> PluginCall:
    if call.verb == "ADD" and not fields.integer("mtu"):
        return _with_mtu(call, fields)
    if call.verb == "DEL" and ipam.needs_link(plugin := fields.object("ipam").string("type")):
        with contextlib.suppress(CNIError):  # the executable asks again, and reports the error
            run(replace(call, plugin=plugin, backend=EXEC), runner, patience)
    return call


def _without_daemon(call: PluginCall, fields: Fields, runner: PluginRunner) -> Any:
    """DEL without a running daemon: nobody renews the lease, so it expires, and there is nothing to give back."""
    if call.plugin == dhcp.TYPE:
        return None
    kept = {key: value for key, value in fields.values.items() if key.lower() != "ipam"}
    return runner.run(replace(call, config={**kept, "ipam": _KEEPS_NOTHING}))


def _with_mtu(call: PluginCall, fields: Fields) -> PluginCall:
    mtu = host_links.bridge_mtu("cni0" if fields.get("bridge") is None else fields.string("bridge"))
    if mtu in {None, _USUAL}:
        return call
    kept = {key: value for key, value in fields.values.items() if key.lower() != "mtu"}
    return replace(call, config={**kept, "mtu": mtu})
