"""For how long is a container that is being started to be held? Its labels say, and the settings. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dockercni.errors import LabelError
from dockercni.linux.hold.holder import Limit
from dockercni.model import Container, Unwanted
from dockercni.reconcile import labels
from dockercni.reconcile.labels import Holding


@dataclass(frozen=True, slots=True)
class Limits:
    """`default` is what the settings say of holding, `attach` the setting of that name."""

    default: Holding
    attach: str
    may_hold: bool = True

    def of(self, container: Container) -> Limit | None:
        """For how long a container that appears is to be held; None if it is not to be attached."""
        if container.image:
            return self._until_vetted(container)
        try:
            if isinstance(labels.requests(container, self.attach), Unwanted):
                return None
        except LabelError:
            pass  # its look will fail, and on-failure says what that means
        return self._limit(labels.usable(container, self.default))

    def _until_vetted(self, container: Container) -> Limit | None:
        """It is held first: what its labels say is known when the engine has been asked whose they are."""
        if container.network_mode != "none":
            return None
        said = labels.usable(container, self.default)
        return self._limit(Holding(max(said.seconds, self.default.seconds), said.on_failure))

    def _limit(self, holding: Holding) -> Limit:
        return Limit(holding.seconds if self.may_hold else 0.0, kill=holding.on_failure == "stop")
