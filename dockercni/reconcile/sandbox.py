"""A container's network namespace (Docker calls it its sandbox): found through its process, held, confirmed, pinned."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dockercni.cni.names import is_container_id
from dockercni.docker.client import Client
from dockercni.docker.start_watch import Start
from dockercni.errors import DockercniError, Retry
from dockercni.linux import netns, processes
from dockercni.linux.netns import Namespace, NamespaceGone
from dockercni.linux.netns_state import NetnsState
from dockercni.model import Container, NetnsId


class SandboxError(DockercniError):
    """A container's namespace cannot be opened, confirmed or pinned now."""

    retry = Retry.LATER


def lives_in(namespace: Namespace, container_id: str) -> bool:
    """Whether any process of the container lives in the namespace."""
    return any(processes.of_container(pid, container_id) for pid in namespace.processes())


@dataclass(frozen=True, slots=True)
class Sandboxes:
    """The sandboxes of one engine's containers. `directory` is where they are pinned."""

    client: Client
    directory: Path
    boot: str = field(default_factory=netns.boot_id)

    @contextlib.contextmanager
    def of(self, container: Container | None, start: Start | None = None) -> Iterator[Namespace | None]:
        """Hold the namespace that the container's process lives in; None if it does not run (any more).

        For a container that is being started, its `start` holds it already.
        """
        if start:
            yield start.namespace
            return
        namespace = None
        if container and container.running:
            try:
                namespace = Namespace.of_process(container.pid)
            except NamespaceGone:
                namespace = None
            except OSError as error:
                raise SandboxError(
                    f"cannot open the network namespace of {container.name}: {error.strerror}"
                ) from error
        with namespace or contextlib.nullcontext():
            yield namespace

    def confirm(self, container: Container, namespace: Namespace, start: Start | None = None) -> None:
        """Ask the engine again while the namespace is held: the pid may have been reused before it was opened.

        For a container that is being started the cgroup answers, since the engine does not. Raises SandboxError.
        """
        if start:
            if not start.alive:
                raise SandboxError(f"{container.name} ended while it was being started")
            self.refuse_own(container.name, namespace)
            return
        again = self.client.container(container.id)
        if again is None or not again.running or (again.pid, again.started_at) != (container.pid, container.started_at):
            raise SandboxError(f"{container.name} stopped or was restarted meanwhile")
        self.refuse_own(container.name, namespace)

    def refuse_own(self, name: str, namespace: Namespace) -> None:
        """Raise SandboxError for the namespace of this process: the host's own is never configured."""
        with Namespace.of_process(os.getpid()) as own:
            if own == namespace:
                raise SandboxError(f"the network namespace of {name} is the host's own, which is never configured")

    def netns_id(self, namespace: Namespace, facts: NetnsState | None = None) -> NetnsId:
        """The namespace's identity; before Linux 5.14 (no cookie) it is good only while a pin holds the namespace."""
        cookie = facts.cookie if facts else namespace.cookie()
        return NetnsId(self.boot, str(cookie) if cookie is not None else "{}:{}".format(*namespace.identity))

    def pinned(self, container_id: str, living: tuple[Namespace, NetnsId] | None = None) -> NetnsId | None:
        """The identity of the namespace that a container's pin holds; None if there is none. A symbolic link is no pin.

        `living` is the namespace of its process, which usually is the same: its identity need not be read again.
        """
        return self._netns_id_at(self.pin_path(container_id), follow=False, known=living)

    def netns_id_at(self, path: str | Path) -> NetnsId | None:
        """The identity of the namespace at `path`; None if there is none."""
        return self._netns_id_at(path, follow=True)

    def _netns_id_at(
        self, path: str | Path, *, follow: bool, known: tuple[Namespace, NetnsId] | None = None
    ) -> NetnsId | None:
        try:
            with Namespace.open(path, follow=follow) as namespace:
                return known[1] if known and known[0] == namespace else self.netns_id(namespace)
        except OSError:
            return None

    def pin_path(self, container_id: str) -> Path:
        """Where a container's namespace is pinned; it is what the plugins get as CNI_NETNS. Raises SandboxError."""
        if not is_container_id(container_id):
            raise SandboxError(f"{container_id!a} is not the id of a container")
        return self.directory / f"dockercni-{container_id}"

    def pin(self, container_id: str, namespace: Namespace) -> Path:
        """Pin the namespace, if it is not yet. Raises SandboxError."""
        path = self.pin_path(container_id)
        try:
            with Namespace.open(path, follow=False) as pinned:
                if pinned == namespace:
                    return path
        except OSError:
            pass  # there is no pin, or an empty file that was one
        try:
            netns.unpin(path)
            netns.pin(namespace, path)
        except OSError as error:
            raise SandboxError(f"cannot pin the network namespace at {path}: {error.strerror}") from error
        return path

    def unpin(self, container_id: str) -> None:
        """Release the pinned namespace. Raises SandboxError."""
        path = self.pin_path(container_id)
        try:
            netns.unpin(path)
        except OSError as error:
            raise SandboxError(f"cannot remove the pin {path}: {error.strerror}") from error

    def inhabited(self, container_id: str, netns_ids: Collection[NetnsId], besides: NetnsId | None = None) -> bool:
        """Whether processes of the container still live in the pinned namespace or, if the pin is gone, in one of
        `netns_ids`. Those of other containers that joined it do not count: its network goes with it, as Docker's does.

        A pin of the namespace `besides` does not count.
        """
        try:
            with Namespace.open(self.pin_path(container_id), follow=False) as namespace:
                if besides is None or self.netns_id(namespace) != besides:
                    return lives_in(namespace, container_id)
        except OSError:
            pass
        wanted = {netns_id for netns_id in netns_ids if netns_id.boot == self.boot}
        found = netns.inhabited(lambda each: self.netns_id(each) in wanted and lives_in(each, container_id))
        return bool(wanted) and any(found)

    def pins(self) -> Iterator[str]:
        """The ids of the containers that have a pin, or an empty file that was one."""
        for path in self.directory.glob("dockercni-*"):
            if is_container_id(container_id := path.name.removeprefix("dockercni-")):
                yield container_id
