"""Ad hoc attachments: `dockercni add` and `dockercni del`.

They are recorded like all others. That of a container lives until the container stops; that of the path of some other
namespace lives as long as the path leads to this namespace.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dockercni.cni import Result
from dockercni.cni.names import is_container_id
from dockercni.errors import DockercniError, UnknownContainer, UsageError
from dockercni.linux.netns import Namespace, NamespaceGone, NotANamespace
from dockercni.model import Container, NetworkRequest
from dockercni.reconcile import records
from dockercni.reconcile.attach import Attacher, AttachFailed, Target
from dockercni.reconcile.records import Record
from dockercni.reconcile.sandbox import Sandboxes


def add_to_container(
    sandboxes: Sandboxes, attacher: Attacher, container: Container, engine_id: str, request: NetworkRequest
) -> Result:
    """ADD to a running container, whatever its network mode. Raises DockercniError kinds; then nothing has changed."""
    with attacher.locks.container(container.id) as lock, sandboxes.of(container) as namespace:
        if namespace is None:
            raise UsageError(f"container {container.name} does not run")
        request = _complete(attacher, container.id, namespace, request)
        sandboxes.confirm(container, namespace)
        pin = sandboxes.pin(container.id, namespace)
        owner = records.owner(sandboxes.netns_id(namespace), engine_id, container.name, records.AD_HOC)
        try:
            return attacher.attach(Target(container.id, str(pin), owner, lock), request).attached
        except DockercniError:
            if not any(_recorded(attacher, container.id)):
                sandboxes.unpin(container.id)
            raise


def add_to_path(sandboxes: Sandboxes, attacher: Attacher, name: str, path: Path, request: NetworkRequest) -> Result:
    """ADD to the namespace at `path` under the container id `name`; no engine is asked. Raises as the other one."""
    path = path.absolute()  # plugins and later runs have other working directories
    if not is_container_id(name):
        raise UsageError(f"{name!a} cannot be an id: letters, digits, _, . and -, a letter or digit first")
    try:
        namespace = Namespace.open(path)
    except (NamespaceGone, NotANamespace) as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    with attacher.locks.container(name) as lock, namespace:
        sandboxes.refuse_own(str(path), namespace)
        request = _complete(attacher, name, namespace, request)
        owner = records.owner(sandboxes.netns_id(namespace), "", name, records.BY_PATH)
        return attacher.attach(Target(name, str(path), owner, lock), request).attached


def delete(
    sandboxes: Sandboxes, attacher: Attacher, container_id: str, network: str = "", ifname: str = ""
) -> list[Record]:
    """DEL what is recorded of that id, all or what `network` and `ifname` choose, and return it.

    Raises UnknownContainer where nothing is recorded, AttachFailed with all that failed.
    """
    with attacher.locks.container(container_id) as lock:
        found = [
            record
            for record in _recorded(attacher, container_id)
            if network in {"", record.attachment.network} and ifname in {"", record.attachment.ifname}
        ]
        if not found:
            which = "".join(f" {what}" for what in (network, ifname) if what)
            raise UnknownContainer(f"{container_id} has no attachment{which} that dockercni made")
        pinned = sandboxes.pinned(container_id)
        failures: list[AttachFailed] = []
        for record in reversed(found):
            path = record.attachment.path
            existing = sandboxes.netns_id_at(path) if path else pinned
            try:
                attacher.detach(record, alive=existing == record.attachment.netns_id, lock=lock)
            except AttachFailed as error:
                failures.append(error)
        if not any(_recorded(attacher, container_id)):
            sandboxes.unpin(container_id)
        if failures:
            raise AttachFailed("; ".join(map(str, failures)), max(failure.retry for failure in failures))
        return found


def _complete(attacher: Attacher, container_id: str, namespace: Namespace, request: NetworkRequest) -> NetworkRequest:
    """The request with its network's name and an interface name that is free."""
    network = attacher.networks.catalogue().get(request.network).name
    recorded = [(record.attachment.network, record.attachment.ifname) for record in _recorded(attacher, container_id)]
    there = namespace.interfaces() | {ifname for _, ifname in recorded}
    if request.ifname in there:
        raise UsageError(f"there is an interface {request.ifname} already")
    free = next(name for number in range(len(there) + 1) if (name := f"eth{number}") not in there)
    # a running container has its default route already, or has none for a reason
    return replace(request, network=network, ifname=request.ifname or free, rivals=tuple(recorded))


def _recorded(attacher: Attacher, container_id: str) -> Iterator[Record]:
    for entry in attacher.cache.entries(container_id):
        if record := records.record(entry):
            yield record
