"""`dockercni explain CONTAINER`: why it has its networks, or none."""

from collections.abc import Iterator
from dataclasses import replace

from dockercni import logs, render
from dockercni.commands import heard
from dockercni.commands.containers import resolve
from dockercni.commands.sync import line
from dockercni.commands.table import Request
from dockercni.errors import DockercniError
from dockercni.model import Container, NetworkRequest, Unwanted
from dockercni.reconcile import gateway, labels, ports, records
from dockercni.reconcile.reconciler import Outcome, Policy
from dockercni.status_file import Failing
from dockercni.wiring import App, policy, wire


def run(request: Request) -> int:
    """Print the reasons.

    JSON keys: container, id, reasons [text], attachments [text], next [text], failing (null, or {since, times, retryIn,
    parts [{action, network, ifname, reason}]}): what the daemon has tried in vain.
    """
    logs.configure("error", "auto")
    app = wire(request.settings)
    engine = app.client.engine()
    app.networks.learn(engine.mtu)
    container_id = resolve(app, request.args.container)
    container = app.client.container(container_id)
    reasons = (
        list(_reasons(app, container, engine.host_ip)) if container else ["the engine knows no such container any more"]
    )
    attached = list(_attached(app, container_id))
    seen = app.reconciler(engine, Policy(request.settings.attach)).look(container_id, dry_run=True)
    coming = list(_coming(seen))
    alive, _, pulse = heard.daemon(request.settings)
    failing = pulse.failing.get(container_id) if pulse and alive else None
    if request.output == "json":
        found = {"container": seen.name, "id": container_id, "reasons": reasons, "attachments": attached}
        render.json({**found, "next": coming, "failing": _shown(failing) if failing else None})
        return 0
    render.line(f"{seen.name} ({container_id[:12]})")
    failed = list(_failed(failing)) if failing else []
    for title, lines in (("", reasons), ("has ", attached), ("", failed), ("next sync: ", coming)):
        for text in lines:
            render.line(f"  {title}{text}")
    return 0


def _shown(failing: Failing) -> dict[str, object]:
    parts = [
        {"action": one.verb, "network": one.network, "ifname": one.ifname, "reason": one.reason}
        for one in failing.parts
    ]
    retry_in = None if failing.retry_in is None else round(failing.retry_in, 1)
    return {"since": failing.since, "times": failing.times, "retryIn": retry_in, "parts": parts}


def _failed(failing: Failing) -> Iterator[str]:
    """What the daemon has tried in vain, and what happens next."""
    for one in failing.parts:
        yield f"{' '.join(filter(None, (one.verb, one.network, one.ifname)))} fails: {one.reason}"
    tries = f"tried {failing.times} times since {failing.since}" if failing.times > 1 else f"tried at {failing.since}"
    if failing.retry_in is None:
        yield f"{tries}; tried again when a configuration or plugin changes, and when all containers are looked at"
    else:
        yield f"{tries}; next try in {failing.retry_in:.0f} s, or when what it lacks becomes free"


def _reasons(app: App, container: Container, host_ip: str) -> Iterator[str]:
    for label, value in sorted(container.dropped.items()):
        if label.startswith(labels.PREFIX):
            yield f"label {label}={value} was dropped: it comes with the image, and trust-image-labels is false"
    if not container.running:
        yield "it does not run, so it is to have no network now"
    elif policy(app.settings).spared.get(container.id) == container.started_at:
        yield "it ran before dockercni's first start here, so the daemon leaves it alone until it starts anew"
    try:
        wanted = labels.requests(container, app.settings.attach)
    except DockercniError as error:
        yield f"wants no network: {error}"
        return
    if isinstance(wanted, Unwanted):
        yield f"wants no network: {wanted.reason}"
        return
    for request in wanted:
        yield _why(app, container, request)
    yield from _default_route(app, container, wanted)
    yield from _ports(app, container, wanted, host_ip)


def _default_route(app: App, container: Container, wanted: tuple[NetworkRequest, ...]) -> Iterator[str]:
    """Which of several networks is to have the default route, and why."""
    chosen = labels.gateway(container)
    if len(wanted) == 1 and not chosen:
        return
    catalogue = app.networks.catalogue()
    try:
        named = [replace(request, network=catalogue.get(request.network).name) for request in wanted]
        order = gateway.ranked(named, chosen, lambda name: gateway.expected(catalogue.get(name)))
    except DockercniError as error:
        yield f"default route: {error}"
        return
    why = f"label {gateway.LABEL}={chosen}" if chosen else "the first network that has one"
    for version in (4, 6):
        holders = (one.network for one in order if version in gateway.expected(catalogue.get(one.network)))
        if holder := next(holders, None):
            yield f"default route of IPv{version}: {holder} ({why})"


def _why(app: App, container: Container, request: NetworkRequest) -> str:
    """One network with what decided on it, and the labels that say more of it."""
    catalogue = app.networks.catalogue()
    said = container.labels.get(f"{labels.PREFIX}networks")
    settings = app.settings
    if said is not None:
        decided = f"label {labels.PREFIX}networks={said}"
    elif settings.default_network:
        decided = f"no label names one, and default-network is set ({settings.origins['default-network']})"
    else:
        decided = "no label names one, and this is the default: " + (
            f"the first file of {settings.cni_conf_dir}"
            if catalogue.built_in is None
            else f"there is no {'such ' if catalogue.directory.files else ''}file in {settings.cni_conf_dir}"
        )
    try:
        network = catalogue.get(request.network)
    except DockercniError as error:
        return f"wants {request.network or 'the default network'} as {request.ifname}: {decided}; but {error}"
    asked = [*map(str, request.ips), request.mac, *(f"{key}={value}" for key, value in request.args)]
    details = "".join(f", {one}" for one in asked if one)
    return f"wants {network.name} as {request.ifname}{details}: {decided} ({network.source or 'built in'})"


def _ports(app: App, container: Container, wanted: tuple[NetworkRequest, ...], host_ip: str) -> Iterator[str]:
    catalogue = app.networks.catalogue()
    try:
        placed = ports.place(wanted, container.ports, lambda name: ports.obstacle(catalogue.get(name)), host_ip)
    except DockercniError:  # it was said above
        return
    for request in placed:
        if request.unpublished:
            yield request.unpublished
        elif request.ports:
            published = ports.summary(request.ports)
            at = (
                f" at {host_ip}, the engine's default"
                if host_ip and not all(p.host_ip for p in container.ports)
                else ""
            )
            yield f"publishes {published} through {catalogue.get(request.network).name}, the first that can{at}"


def _attached(app: App, container_id: str) -> list[str]:
    found: list[str] = []
    for entry in app.attacher.cache.entries(container_id, lambda error: found.append(f"an unreadable record: {error}")):
        if record := records.record(entry):
            by = " by hand" if record.attachment.by_hand or record.attachment.path else ""
            state = "" if record.attachment.complete else ", not finished"
            found.append(f"{entry.network} {entry.ifname}, attached{by}{state}")
    return found


def _coming(seen: Outcome) -> Iterator[str]:
    if not seen.steps:
        yield "nothing to do"
    for step in seen.steps:
        yield line(seen.name, step, dry_run=True)
