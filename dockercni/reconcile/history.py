"""What a container had last: kept until it is removed, so that it gets the same addresses again.

It also proves that dockercni created an interface or lease of this container, should its record be lost: what the
history says is attached is then removed with today's configuration, and attached anew. What neither record nor history
nor pin proves to be created by dockercni is named, and never touched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from dockercni.cni.cache_entry import stored_backends
from dockercni.cni.names import is_container_id
from dockercni.model import NetnsId
from dockercni.reconcile import state


class PastAttachment(msgspec.Struct, frozen=True):
    """One attachment that a container has or had.

    `ips` are its addresses with their prefixes, `boot` and `cookie` the identity of the namespace that had them,
    `attached` whether it still has them, as far as known, `mac` the interface's MAC. `served` names the backend of each
    plugin, in a file as the CNI cache does (see `cache_entry.backends`).
    """

    network: str
    ifname: str
    ips: tuple[str, ...]
    boot: str
    cookie: str
    attached: bool = True
    capability_args: dict[str, Any] = msgspec.field(default_factory=dict)
    served: tuple[str, ...] = ()
    mac: str = ""

    @property
    def netns_id(self) -> NetnsId:
        """The namespace that it was in."""
        return NetnsId(self.boot, self.cookie)


# msgspec analyses a type at its first use, and crashes if two threads make it do so at once: so do it here
msgspec.json.Decoder(PastAttachment)


@dataclass(frozen=True, slots=True)
class History:
    """One small file for each container below `directory`. The caller holds the container's lock."""

    directory: Path

    def recall(self, container_id: str) -> tuple[PastAttachment, ...]:
        """What the container had last; nothing if the file cannot be read. Raises state.StateError."""
        return state.recall(self._file(container_id), tuple[PastAttachment, ...], ())

    def remember(self, container_id: str, past: PastAttachment) -> None:
        """Note what it has now on one interface, if that can be written. Raises state.StateError."""
        past = msgspec.structs.replace(past, served=stored_backends(past.served))
        known = self.recall(container_id)
        others = [other for other in known if (other.network, other.ifname) != (past.network, past.ifname)]
        if (now := (*others, past)) != known and not state.keep(self._file(container_id), now) and not past.attached:
            # No history is better than one that still claims the attachment: a DEL would be run for it.
            self.forget(container_id)

    def left(self, container_id: str, network: str, ifname: str) -> None:
        """It was detached there; its addresses stay in the history. Raises state.StateError."""
        for past in self.recall(container_id):
            if (past.network, past.ifname) == (network, ifname):
                self.remember(container_id, msgspec.structs.replace(past, attached=False))

    def forget(self, container_id: str) -> None:
        """The container was removed."""
        with contextlib.suppress(OSError):
            self._file(container_id).unlink(missing_ok=True)

    def lost(self, recorded: Collection[tuple[str, str, str]]) -> Iterator[str]:
        """The ids of the containers that have an attachment by their history, but not in `recorded`: the (network,
        container id, interface) of all records. What bears such an id may be in use until the record is repaired.
        """
        for each in self.known():
            try:
                attached = {(past.network, each, past.ifname) for past in self.recall(each) if past.attached}
            except state.StateError:  # it may have one
                yield each
                continue
            if not attached.issubset(recorded):
                yield each

    def known(self) -> Iterator[str]:
        """The ids of the containers that have a history."""
        for path in self.directory.glob("*.json"):
            if is_container_id(container_id := path.name.removesuffix(".json")):
                yield container_id

    def _file(self, container_id: str) -> Path:
        """Where it stands. Raises StateError for what is no id, and so might be another place."""
        if not is_container_id(container_id):
            raise state.StateError(f"{container_id!a} is not the id of a container")
        return self.directory / f"{container_id}.json"


def last_on(past: Sequence[PastAttachment], network: str, ifname: str) -> PastAttachment | None:
    """What it had on that network and interface."""
    return next((one for one in past if (one.network, one.ifname) == (network, ifname)), None)
