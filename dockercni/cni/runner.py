"""What a plugin is asked, and the protocol that anything which serves plugins speaks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dockercni.cni.conf import NetworkList, PluginConf

EXEC: Final = "exec"


@dataclass(frozen=True, slots=True)
class PluginCall:
    """One verb for one plugin.

    `environment` holds the CNI_* variables, `config` is what stands on stdin, `inherit` are descriptors (a lock) that
    whatever works on the call keeps open for as long as it lives. `timeout` are seconds that it may take, where that is
    to be less than what its runner allows anyway.
    """

    plugin: str
    verb: str
    config: bytes
    environment: Mapping[str, str]
    engine: str = EXEC
    inherit: Sequence[int] = field(default=())
    timeout: float | None = None


class PluginRunner(Protocol):
    """Serves plugins: by executables, in the process, or as a fake in a test."""

    def choose(self, network: NetworkList, plugin: PluginConf) -> str:
        """Name the engine that will serve `plugin` of `network` at ADD. It is recorded and used for CHECK and DEL too.

        Raises PluginNotFound.
        """

    def run(self, call: PluginCall) -> bytes:
        """Carry `call` out and return what it printed. Raises PluginError, PluginNotFound."""

    @property
    def path(self) -> str:
        """The value of CNI_PATH."""
