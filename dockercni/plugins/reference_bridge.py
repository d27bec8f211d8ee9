"""What the reference bridge executable leaves undone, done from outside of it, before it runs.

It gives a container frames that are too large for a bridge that somebody else made, and at DEL it removes the link
before its IPAM plugin is asked to give the address back, which for DHCP needs the link.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from dockercni.cni import document
from dockercni.cni.calls import EXEC
from dockercni.cni.document import Fields
from dockercni.cni.errors import CNIError
from dockercni.kernel import links
from dockercni.plugins import ipam

if TYPE_CHECKING:
    from dockercni.cni.calls import PluginCall, PluginRunner

_USUAL: Final = 1500  # the MTU that a new link has anyway


def prepared(call: PluginCall, runner: PluginRunner) -> PluginCall:
    """The call to make in place of `call`. What `call` cannot say clearly is left for the executable to complain of."""
    try:
        fields = Fields.of(document.decode(call.config))
        if call.verb == "ADD" and not fields.integer("mtu"):
            return _with_mtu(call, fields)
        if call.verb == "DEL" and ipam.needs_link(plugin := fields.object("ipam").string("type")):
            with contextlib.suppress(CNIError):  # the executable asks again, and tells
                runner.run(replace(call, plugin=plugin, engine=EXEC))
    except CNIError:
        pass
    return call


def _with_mtu(call: PluginCall, fields: Fields) -> PluginCall:
    name = "cni0" if fields.get("bridge") is None else fields.string("bridge")
    mtu = links.bridge_mtu(name)
    if mtu in {None, _USUAL}:
        return call
    kept = {key: value for key, value in fields.values.items() if key.lower() != "mtu"}
    return replace(call, config=document.encode({**kept, "mtu": mtu}))
