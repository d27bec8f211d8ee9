"""Wanted x recorded x observed -> actions, each with its reason in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dockercni.model import (
    MAIN_TABLE,
    Attachment,
    Container,
    Destination,
    IPAddress,
    NetnsId,
    NetworkRequest,
    Unwanted,
)


@dataclass(frozen=True, slots=True)
class Observed:
    """What engine and kernel show of one container, or of a namespace that belongs to no container.

    `container` is None if the engine knows no such id. `netns_id`, `links` (`up`: those that are up), `addresses` (each
    with its link) and `routes` are those of the namespace that it runs in, if it runs. `renamed` maps the recorded name
    of an attachment's link to its present one, and `may_change` says that programs of the container may have changed
    all this themselves. `pinned` is the namespace that our pin holds, `pin_exists` whether there is a pin, or an empty
    file that was one. `inhabited` says that processes still live in a namespace where the container has attachments but
    does not run (any more), `confirmed` that the engine says so. `paths` maps the paths of ad hoc attachments to their
    namespaces.

    By interface, what is missing outside of the container (empty if that was not examined): `rules_missing` the kinds
    of firewall rules, `host_missing` what can be repaired of the host's links, addresses, routes and settings,
    `lease_missing` what its DHCP lease lacks, `store_missing` what host-local's store lacks of its leases, and
    `host_broken` what only the administrator can repair.
    """

    container: Container | None = None
    netns_id: NetnsId | None = None
    links: frozenset[str] = frozenset()
    up: frozenset[str] = frozenset()
    addresses: frozenset[tuple[str, IPAddress]] = frozenset()
    routes: frozenset[Destination] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict)
    may_change: bool = False
    pinned: NetnsId | None = None
    pin_exists: bool = False
    inhabited: bool = False
    confirmed: bool = True
    paths: Mapping[str, NetnsId] = field(default_factory=dict)
    rules_missing: Mapping[str, Sequence[str]] = field(default_factory=dict)
    host_missing: Mapping[str, Sequence[str]] = field(default_factory=dict)
    host_broken: Mapping[str, Sequence[str]] = field(default_factory=dict)
    lease_missing: Mapping[str, Sequence[str]] = field(default_factory=dict)
    store_missing: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def lives(self) -> bool:
        """Whether the container runs, or a namespace that was attached by its path still exists."""
        return self.netns_id is not None or bool(self.paths)

    def name_of(self, attachment: Attachment) -> str:
        """What the attachment's link is called now; "" if it is gone."""
        found = self.renamed.get(attachment.ifname, attachment.ifname)
        return found if found in self.links else ""


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
    """Repair what the kernel lacks of a live attachment; its link and its lease stay.

    `link` is the present name of its link in the container; "" if nothing is to be done there.
    """

    attachment: Attachment
    reason: str
    link: str = ""
    addresses: frozenset[IPAddress] = frozenset()
    routes: frozenset[Destination] = frozenset()
    rules: tuple[str, ...] = ()
    host: tuple[str, ...] = ()
    lease: tuple[str, ...] = ()
    store: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unpin:
    """Release the pinned namespace."""

    reason: str


@dataclass(frozen=True, slots=True)
class Pin:
    """Pin the running container's namespace, which has attachments."""

    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """Nothing is done, but people should know. `drift` if the container is not as it should be.

    `attachment` is the one concerned, if it is about a single one.
    """

    reason: str
    drift: bool = True
    attachment: Attachment | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is done until the engine confirms the start."""

    reason: str


Action = Attach | Detach | Repair | Pin | Unpin | Report | Wait


def plan(
    wanted: Sequence[NetworkRequest] | Unwanted | None,
    recorded: Sequence[Attachment],
    observed: Observed,
    *,
    forced: bool = False,
) -> list[Action]:
    """What has to be done, in order: first everything that goes, in reverse order of its ADD, then what comes.

    `wanted` is None if it is not known: then nothing comes. A live attachment is never replaced because a file or a
    setting changed; that is reported. So is what the container itself may have changed (a VPN's kill switch deletes the
    default route on purpose), unless the user forces it by naming the container.
    """
    if forced:
        observed = replace(observed, may_change=False)
    if observed.container is None and observed.inhabited:
        return [Report("the engine does not know this container, but processes live in its network namespace")]
    if observed.inhabited and not observed.confirmed:
        # Most likely another container has joined the namespace. An unconfirmed start must not take the network from
        # processes that use it.
        return [Wait("processes use its network: waiting for the engine to confirm the new start")]
    gone = list(_gone(recorded, observed))
    # A DEL in the running container's namespace needs the pin: its path is what plugins get as CNI_NETNS.
    pin_first = observed.pinned is None and any(detach.attachment.netns_id == observed.netns_id for detach in gone)
    leaving = {detach.attachment.key for detach in gone}
    staying = [attachment for attachment in recorded if attachment.key not in leaving]
    actions: list[Action] = [*reversed(gone)]
    if pin_first:
        actions.insert(0, Pin("the pin of its network namespace is gone"))
    elif observed.pinned != observed.netns_id or observed.netns_id is None:
        if observed.netns_id is not None and any(not attachment.path for attachment in staying):
            actions.append(Pin("the pin of its network namespace is gone"))
        elif observed.pin_exists:
            actions.append(Unpin("it holds no namespace of a running container"))
    actions.extend(repairs(staying, observed))
    if wanted is not None and observed.netns_id is not None and observed.container is not None:
        # without our pin in this namespace, links that are not recorded were not created by dockercni
        foreign = observed.links if observed.pinned != observed.netns_id else frozenset[str]()
        actions.extend(_coming(wanted, staying, gone, foreign))
    return actions


def _gone(recorded: Sequence[Attachment], observed: Observed) -> Iterator[Detach]:
    for attachment in recorded:
        if reason := _why_gone(attachment, observed):
            existing = observed.paths.get(attachment.path) if attachment.path else observed.pinned or observed.netns_id
            yield Detach(attachment, alive=existing == attachment.netns_id, reason=reason)


def _why_gone(attachment: Attachment, observed: Observed) -> str:
    if attachment.path:
        if observed.paths.get(attachment.path) != attachment.netns_id:
            return "its namespace is gone"
        return "" if attachment.complete else "its ADD was not finished"
    if observed.container is None:
        return "the container was removed"
    if observed.netns_id is None:
        return "the container stopped"
    if attachment.netns_id != observed.netns_id:
        return "it belongs to an earlier run of the container"
    if attachment.lost:
        return "its record was lost"
    if not attachment.complete:
        return "its ADD was not finished"
    if not observed.name_of(attachment) and not observed.may_change:
        return "its interface is gone"
    return ""


def repairs(staying: Sequence[Attachment], observed: Observed) -> Iterator[Repair | Report]:
    """What live attachments lack: outside of the container, and inside if the container cannot have removed it."""
    for attachment in staying:
        ifname = attachment.ifname
        name = observed.container.name if observed.container else attachment.container_id[:12]
        for problem in observed.host_broken.get(ifname, ()):
            yield Report(f"{attachment.network} {ifname}: {problem}", attachment=attachment)
        rules, host = (tuple(each.get(ifname, ())) for each in (observed.rules_missing, observed.host_missing))
        inside = Repair(attachment, "") if attachment.path else _inside(attachment, observed)
        if inside.reason and observed.may_change:
            # Also if its link is gone: deleting either end of a veth pair deletes both, so who did it is not known.
            yield Report(
                f"{attachment.network} {ifname}: left as the container has it, whose programs may configure its "
                f"network (CAP_NET_ADMIN): {inside.reason}; dockercni sync {name} repairs it",
                drift=False,
                attachment=attachment,
            )
            inside = Repair(attachment, "")
        # the DHCP daemon renews a lease only by the link's recorded name
        there = attachment.path or observed.name_of(attachment) == ifname
        lease = tuple(observed.lease_missing.get(ifname, ())) if there else ()
        store = tuple(observed.store_missing.get(ifname, ()))
        if lacking := [*filter(None, [inside.reason]), *host, *rules, *lease, *store]:
            reason = f"missing: {', '.join(lacking)}"
            yield replace(inside, reason=reason, rules=rules, host=host, lease=lease, store=store)


def _inside(attachment: Attachment, observed: Observed) -> Repair:
    """What is missing inside of the container, named in the reason, which is "" if nothing is."""
    link = observed.name_of(attachment)
    if not link:
        return Repair(attachment, "its interface is gone")
    addresses = attachment.addresses - {address for name, address in observed.addresses if name == link}
    routes = attachment.routes - observed.routes
    words = [] if link == attachment.ifname else [f"the name {attachment.ifname}, it is called {link!a}"]
    words += ["up"] if attachment.up and link not in observed.up else []
    words += sorted(map(str, addresses))
    words += sorted(f"route {dst}" if table == MAIN_TABLE else f"route {dst} in table {table}" for dst, table in routes)
    return Repair(attachment, ", ".join(words), link, addresses, routes)


def _coming(
    wanted: Sequence[NetworkRequest] | Unwanted,
    staying: Sequence[Attachment],
    gone: Sequence[Detach],
    foreign: frozenset[str],
) -> Iterator[Action]:
    held = {attachment.ifname: attachment for attachment in staying}
    if isinstance(wanted, Unwanted):
        for attachment in staying:
            if not attachment.ad_hoc:
                yield Report(f"{attachment.network} {attachment.ifname} stays until it stops, though {wanted.reason}")
        return
    before = {detach.attachment.ifname: detach.reason for detach in gone}
    for request in wanted:
        holder = held.pop(request.ifname, None)
        if holder is None and request.ifname in foreign and request.ifname not in before:
            # the ADD would fail, and its roll-back would delete the interface
            yield Report(f"{request.network} waits: {request.ifname} exists, and was not created by dockercni")
        elif holder is None:
            yield Attach(request, before.get(request.ifname, "container started"))
        elif holder.network != request.network:
            yield Report(
                f"{request.ifname} is on {holder.network} until the container's next start, then on {request.network}"
            )
    for attachment in held.values():
        if not attachment.ad_hoc:
            yield Report(
                f"{attachment.network} {attachment.ifname} stays until it stops, though nothing asks for it now"
            )
