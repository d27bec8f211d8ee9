"""For how long a starting container may be held, by its labels and the settings. Pure."""

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
        """For how long a container may be held; None if it is not attached at all."""
        if container.image:
            return self._until_vetted(container)
        try:
            if isinstance(labels.requests(container, self.attach), Unwanted):
                return None
        except LabelError:
            pass  # reconciling it will fail, and on-failure says what follows
        return self._limit(labels.usable(container, self.default))

    def _until_vetted(self, container: Container) -> Limit | None:
        """Hold it in any case: only the engine can say which labels are its own."""
        if container.network_mode != "none":
            return None
        said = labels.usable(container, self.default)
        return self._limit(Holding(max(said.seconds, self.default.seconds), said.on_failure))

    def _limit(self, holding: Holding) -> Limit:
        return Limit(holding.seconds if self.may_hold else 0.0, kill=holding.on_failure == "stop")
