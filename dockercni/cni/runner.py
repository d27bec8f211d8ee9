"""The call of a plugin, and the protocol of whatever serves such calls.

Configurations and results travel as objects. JSON is made and read only for real executables (`invoke`), and where a
plugin of this program is started as an executable (`plugins.executable`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dockercni.cni.conf import NetworkList, PluginConf
    from dockercni.cni.result import Result

EXEC: Final = "exec"


@dataclass(frozen=True, slots=True)
class PluginCall:
    """One verb for one plugin.

    `config` is the JSON object that an executable reads on stdin. It holds nothing that JSON does not have, and shares
    parts with other calls, so it must not be changed. `previous` is its `prevResult`, if that was read already.
    `environment` holds the CNI_* variables, `inherit` are descriptors (a lock) that whatever works on the call keeps
    open for as long as it lives. `timeout` are the seconds that it may take, if fewer than its runner allows anyway.
    """

    plugin: str
    verb: str
    config: Mapping[str, Any]
    environment: Mapping[str, str]
    backend: str = EXEC
    inherit: Sequence[int] = field(default=())
    timeout: float | None = None
    previous: Result | None = None


class PluginRunner(Protocol):
    """Serves plugins: by executables, in this process, or as a fake in a test."""

    def choose(self, network: NetworkList, plugin: PluginConf) -> str:
        """Return the backend that will serve `plugin` of `network` at ADD. It is recorded, and used for CHECK and DEL.

        Raises PluginNotFound.
        """

    def run(self, call: PluginCall) -> Any:
        """Carry `call` out, and return what it answers to ADD and VERSION: the JSON value that it printed, or a Result.

        Other verbs have no answer (None). Raises PluginError, also for output that is no JSON, and PluginNotFound.
        """

    @property
    def path(self) -> str:
        """The value of CNI_PATH."""
