"""Wanted x recorded x observed -> actions, each with its reason in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dockercni.model import Attachment, Container, IPAddress, IPNetwork, Life, NetworkRequest, Unwanted


@dataclass(frozen=True, slots=True)
class Observed:
    """What engine and kernel show of one container, or of a namespace that is no container's.

    `container` is None where the engine knows no such id. `life`, `links`, `addresses` (each with its link) and
    `routes` are those of the namespace that it runs in, if it runs. `pinned` is the namespace that our pin holds,
    `pin_exists` whether there is a pin or what is left of one. `inhabited` says that processes still live in a
    namespace where it has attachments and does not run (any more), `confirmed` that the engine says so.
    `paths` has the namespaces at the paths of attachments that were made by hand. `rules_missing` has the kinds of
    firewall rules that an interface lacks, where the rules were looked at.
    """

    container: Container | None = None
    life: Life | None = None
    links: frozenset[str] = frozenset()
    addresses: frozenset[tuple[str, IPAddress]] = frozenset()
    routes: frozenset[IPNetwork] = frozenset()
    pinned: Life | None = None
    pin_exists: bool = False
    inhabited: bool = False
    confirmed: bool = True
    paths: Mapping[str, Life] = field(default_factory=dict)
    rules_missing: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def shows(self, attachment: Attachment) -> bool:
        """Whether the attachment was finished, in this life of the container, and its interface is there."""
        return attachment.complete and attachment.life == self.life and attachment.ifname in self.links


@dataclass(frozen=True, slots=True)
class Attach:
    """ADD what is requested."""

    request: NetworkRequest
    reason: str


@dataclass(frozen=True, slots=True)
class Detach:
    """DEL what is recorded; `alive` if its namespace still exists, so that the plugins can enter it."""

    attachment: Attachment
    alive: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Repair:
    """Put back what the kernel lacks of a live attachment; link, lease and the rest stay."""

    attachment: Attachment
    addresses: frozenset[IPAddress]
    routes: frozenset[IPNetwork]
    rules: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Unpin:
    """Let the pinned namespace go."""

    reason: str


@dataclass(frozen=True, slots=True)
class Pin:
    """Pin the running container's namespace, which has attachments."""

    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """Nothing is done, but somebody should know. `drift` if the container is not as it should be."""

    reason: str
    drift: bool = True


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is done until the engine says whose the start is."""

    reason: str


Action = Attach | Detach | Repair | Pin | Unpin | Report | Wait


def plan(
    wanted: Sequence[NetworkRequest] | Unwanted | None,
    recorded: Sequence[Attachment],
    observed: Observed,
) -> list[Action]:
    """What has to be done, in order: everything that goes, in reverse order of its coming, before anything comes.

    `wanted` is None where it cannot be told: then nothing comes. A live attachment is never replaced because a file or
    a setting changed; it is reported.
    """
    if observed.container is None and observed.inhabited:
        return [Report("the engine does not know this container, but processes live in its network namespace")]
    if observed.inhabited and not observed.confirmed:
        # most likely another container has joined it; but no claim moves a network away from somebody who lives with it
        return [Wait("processes live where its network is: the engine is to say first that it was started anew")]
    gone = list(_gone(recorded, observed))
    # what begins in the running container's namespace is undone there, and plugins find it by the pin
    pin_first = observed.pinned is None and any(detach.attachment.life == observed.life for detach in gone)
    leaving = {detach.attachment.key for detach in gone}
    staying = [attachment for attachment in recorded if attachment.key not in leaving]
    actions: list[Action] = [*reversed(gone)]
    if pin_first:
        actions.insert(0, Pin("the pin of its network namespace is gone"))
    elif observed.pinned != observed.life or observed.life is None:
        if observed.life is not None and any(not attachment.path for attachment in staying):
            actions.append(Pin("the pin of its network namespace is gone"))
        elif observed.pin_exists:
            actions.append(Unpin("it holds no namespace of a running container"))
    actions.extend(_incomplete(staying, observed))
    if wanted is not None and observed.life is not None and observed.container is not None:
        # without a pin of ours in this namespace, what is there and not recorded is somebody else's
        foreign = observed.links if observed.pinned != observed.life else frozenset[str]()
        actions.extend(_coming(wanted, staying, gone, foreign))
    return actions


def _gone(recorded: Sequence[Attachment], observed: Observed) -> Iterator[Detach]:
    for attachment in recorded:
        if reason := _why_gone(attachment, observed):
            existing = observed.paths.get(attachment.path) if attachment.path else observed.pinned or observed.life
            yield Detach(attachment, alive=existing == attachment.life, reason=reason)


def _why_gone(attachment: Attachment, observed: Observed) -> str:
    if attachment.path:
        if observed.paths.get(attachment.path) != attachment.life:
            return "its namespace is gone"
        return "" if attachment.complete else "its ADD was not finished"
    if observed.container is None:
        return "the container was removed"
    if observed.life is None:
        return "the container stopped"
    if attachment.life != observed.life:
        return "it belongs to an earlier life of the container"
    if attachment.lost:
        return "its record was lost"
    if not attachment.complete:
        return "its ADD was not finished"
    if attachment.ifname not in observed.links:
        return "its interface is gone"
    return ""


def _incomplete(staying: Sequence[Attachment], observed: Observed) -> Iterator[Repair]:
    for attachment in staying:
        if attachment.path:
            continue
        there = {address for link, address in observed.addresses if link == attachment.ifname}
        addresses = attachment.addresses - there
        routes = attachment.routes - observed.routes
        rules = tuple(observed.rules_missing.get(attachment.ifname, ()))
        if lacking := [*map(str, sorted(addresses, key=str)), *(f"route {route}" for route in routes), *rules]:
            yield Repair(attachment, addresses, routes, rules, f"missing: {', '.join(lacking)}")


def _coming(
    wanted: Sequence[NetworkRequest] | Unwanted,
    staying: Sequence[Attachment],
    gone: Sequence[Detach],
    foreign: frozenset[str],
) -> Iterator[Action]:
    held = {attachment.ifname: attachment for attachment in staying}
    if isinstance(wanted, Unwanted):
        for attachment in staying:
            if not attachment.by_hand:
                yield Report(f"{attachment.network} {attachment.ifname} stays until it stops, though {wanted.reason}")
        return
    before = {detach.attachment.ifname: detach.reason for detach in gone}
    for request in wanted:
        holder = held.pop(request.ifname, None)
        if holder is None and request.ifname in foreign and request.ifname not in before:
            # an ADD would fail, and its roll-back delete the interface
            yield Report(f"{request.network} waits: there is an interface {request.ifname} that dockercni did not make")
        elif holder is None:
            yield Attach(request, before.get(request.ifname, "the container runs without it"))
        elif holder.network != request.network:
            yield Report(
                f"{request.ifname} is on {holder.network} until the container's next start, then on {request.network}"
            )
    for attachment in held.values():
        if not attachment.by_hand:
            yield Report(
                f"{attachment.network} {attachment.ifname} stays until it stops, though nothing asks for it now"
            )
