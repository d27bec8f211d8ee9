"""What reconciling one container came to: the steps taken, or in a dry run the steps that would be taken. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dockercni.errors import Retry
from dockercni.reconcile.plan import Action, Attach, Detach, Pin, Repair, Report, Unpin, Wait

ADD: Final = "ADD"
DEL: Final = "DEL"
REPAIR: Final = "REPAIR"
PIN: Final = "PIN"
UNPIN: Final = "UNPIN"
NOTE: Final = "NOTE"
WAIT: Final = "WAIT"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done, failed or is worth knowing, or that a dry run would do.

    `verb` is ADD, DEL, REPAIR, PIN, UNPIN, NOTE, or WAIT for what the engine has to confirm first. `drift` marks a NOTE
    about something that is not as it should be; `retry` says when a failed step may succeed.
    """

    verb: str
    network: str = ""
    ifname: str = ""
    addresses: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    ms: float = 0.0
    reason: str = ""
    error: str = ""
    retry: Retry = Retry.NEVER
    drift: bool = False

    @classmethod
    def of(cls, action: Action) -> Step:
        """The step that carries out this action, before anything has been done."""
        match action:
            case Attach(request, reason):
                return cls(ADD, request.network, request.ifname, reason=reason)
            case Detach(attachment, _, reason):
                return cls(DEL, attachment.network, attachment.ifname, reason=reason)
            case Repair(attachment, reason=reason):
                return cls(REPAIR, attachment.network, attachment.ifname, reason=reason)
            case Pin(reason):
                return cls(PIN, reason=reason)
            case Unpin(reason):
                return cls(UNPIN, reason=reason)
            case Report(reason, drift, attachment):
                network, ifname = (attachment.network, attachment.ifname) if attachment else ("", "")
                return cls(NOTE, network, ifname, reason=reason, drift=drift)
            case Wait(reason):
                return cls(WAIT, reason=reason, drift=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What reconciling one container came to. `attachments` is how many it has afterwards."""

    id: str
    name: str
    running: bool
    attachments: int
    steps: tuple[Step, ...]

    @property
    def converged(self) -> bool:
        """Whether the container now has what it should have, and nothing else."""
        return not any(step.error or step.drift for step in self.steps)

    @property
    def retry(self) -> Retry:
        """When another try may do better."""
        return max((step.retry for step in self.steps), default=Retry.NEVER)

    @property
    def waits(self) -> bool:
        """Whether the engine has to confirm something first."""
        return any(step.verb == WAIT for step in self.steps)
