"""What a plugin in this process is: four verbs over a request, with the results and errors of an executable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dockercni.cni import NetworkList, PluginCall, PluginConf, PluginRunner, Result


@dataclass(frozen=True, slots=True)
class Request:
    """One verb, taken apart: the CNI_* variables, the configuration from stdin, and its prevResult as a result.

    `conf` is the whole JSON object as a plugin gets it (name, cniVersion, ipam, runtimeConfig, args, ...). `netns` is
    "" if it is gone. `runner` serves the plugins that this one delegates to (IPAM), and `call` is what came in.
    """

    call: PluginCall
    conf: Mapping[str, Any]
    name: str
    cni_version: str
    container_id: str
    netns: str
    ifname: str
    args: Mapping[str, str]
    previous: Result | None
    runner: PluginRunner


class Plugin(Protocol):
    """A plugin. Every verb raises CNIError, with the code and words that the reference plugin would use."""

    def unsupported(self, network: NetworkList, plugin: PluginConf) -> str:
        """Why this configuration must be left to the executable ("" if it need not be): `auto` asks before ADD."""

    def add(self, request: Request) -> Result:
        """Create, and return the result in the version of the request."""

    def check(self, request: Request) -> None:
        """Compare the kernel with `previous`."""

    def delete(self, request: Request) -> None:
        """Take back; already gone is success."""

    def status(self, request: Request) -> None:
        """Whether an ADD could be served now."""

    def gc(self, request: Request) -> None:
        """Remove what belongs to no valid attachment (conf "cni.dev/valid-attachments")."""
