"""`dockercni explain CONTAINER`: why it has its networks, or none."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from dockercni import logs, render
from dockercni.commands import liveness
from dockercni.commands.containers import resolve
from dockercni.commands.sync import line
from dockercni.commands.table import Invocation
from dockercni.errors import DockercniError
from dockercni.model import Container, NetworkRequest, Unwanted
from dockercni.reconcile import gateway, labels, ports, records
from dockercni.reconcile.reconciler import AttachPolicy, Reconciler
from dockercni.reconcile.records import Record
from dockercni.status_file import Failing
from dockercni.wiring import App, policy, wire


def run(invocation: Invocation) -> int:
    """Print the reasons.

    JSON keys: container, id, reasons [text], attachments [text], next [text], and for what the daemon has tried in vain
    failing (null, or {since, times, retryIn, parts [{action, network, ifname, reason}]}).
    """
    logs.configure("error", "auto")
    app = wire(invocation.settings)
    engine = app.client.engine()
    app.networks.learn(engine.mtu)
    container_id = resolve(app, invocation.args.container)
    container = app.client.container(container_id)
    sync, daemon = (
        app.reconciler(engine, AttachPolicy(invocation.settings.attach)),
        app.reconciler(engine, policy(app.settings)),
    )
    reasons = (
        list(_reasons(app, container, sync, daemon)) if container else ["the engine has no such container any more"]
    )
    attached = _attached(app, container_id)
    outcome = sync.reconcile(container_id, dry_run=True)
    coming = [line(outcome.name, step, dry_run=True) for step in outcome.steps] or ["nothing to do"]
    failing = liveness.of_daemon(invocation.settings).failing.get(container_id)
    if invocation.output == "json":
        found = {"container": outcome.name, "id": container_id, "reasons": reasons, "attachments": attached}
        render.json({**found, "next": coming, "failing": _shown(failing) if failing else None})
        return 0
    render.line(f"{outcome.name} ({container_id[:12]})")
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
        yield f"{tries}; tried again when a configuration or plugin changes, and when all containers are reconciled"
    else:
        yield f"{tries}; next try in {failing.retry_in:.0f} s, or when what it lacks becomes free"


def _reasons(app: App, container: Container, sync: Reconciler, daemon: Reconciler) -> Iterator[str]:
    for label, value in sorted(container.dropped.items()):
        if label.startswith(labels.PREFIX):
            yield f"label {label}={value} was dropped: it comes with the image, and trust-image-labels is false"
    if not container.running:
        yield "it is not running, so it has no network now"
    try:
        asked = labels.requests(container, app.settings.attach)
        if isinstance(asked, Unwanted):
            yield f"wants no network: {asked.reason}"
            return
    except DockercniError as error:
        yield f"gets no network: {error}"
        return
    whys = [_why(app, container, request) for request in asked]
    yield from whys
    # of one that does not run, what its next start brings: the daemon spares only the start that it found running
    started = container if container.running else replace(container, running=True, started_at="")
    try:
        wanted, attended = sync.wanted(started), daemon.wanted(started, _records(app, daemon, container))
    except DockercniError as error:
        if not container.running and not any(str(error) in why for why in whys):
            yield f"cannot be attached: {error}"  # of one that runs, "next sync" says so
        return
    if isinstance(attended, Unwanted):
        yield f"the daemon leaves it alone: {attended.reason}"
    if isinstance(wanted, Sequence):
        yield from _default_route(app, container, wanted)
        yield from _ports(app, container, wanted, sync.host_ip)


def _records(app: App, reconciler: Reconciler, container: Container) -> list[Record]:
    return list(records.records(app.attacher.cache, reconciler.engine_id, container.id))


def _default_route(app: App, container: Container, wanted: Sequence[NetworkRequest]) -> Iterator[str]:
    """Which of several networks has the default route, and why. `wanted` is in the order of their claim to it."""
    chosen = labels.gateway(container)
    if len(wanted) == 1 and not chosen:
        return
    catalogue = app.networks.catalogue()
    why = f"label {gateway.LABEL}={chosen}" if chosen else "the first network that has one"
    for version in (4, 6):
        holders = (one.network for one in wanted if version in gateway.expected(catalogue.get(one.network)))
        if holder := next(holders, None):
            yield f"default route of IPv{version}: {holder} ({why})"


def _why(app: App, container: Container, request: NetworkRequest) -> str:
    """One network, what decided on it, and what other labels ask of it."""
    catalogue = app.networks.catalogue()
    label = container.labels.get(f"{labels.PREFIX}networks")
    settings = app.settings
    if label is not None:
        decided = f"label {labels.PREFIX}networks={label}"
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


def _ports(app: App, container: Container, wanted: Sequence[NetworkRequest], host_ip: str) -> Iterator[str]:
    for request in wanted:
        if request.unpublished:
            yield request.unpublished
        elif request.ports:
            everywhere = all(port.host_ip for port in container.ports)
            at = f" at {host_ip}, the engine's default" if host_ip and not everywhere else ""
            network = app.networks.catalogue().get(request.network).name
            yield f"publishes {ports.summary(request.ports)} through {network}, the first that can{at}"


def _attached(app: App, container_id: str) -> list[str]:
    found: list[str] = []
    for entry in app.attacher.cache.entries(container_id, lambda error: found.append(f"an unreadable record: {error}")):
        if record := records.record(entry):
            by = " by hand" if record.attachment.ad_hoc or record.attachment.path else ""
            state = "" if record.attachment.complete else ", not finished"
            found.append(f"{entry.network} {entry.ifname}, attached{by}{state}")
    return found
