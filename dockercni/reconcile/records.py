"""Cache entries that are ours, as attachments: what the plan works on, and who may touch them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from dockercni.cni import Cache, CacheEntry, CacheError
from dockercni.model import Attachment, Life

ENGINE: Final = "engine"
BOOT: Final = "boot"
COOKIE: Final = "cookie"
NAME: Final = "name"
BY: Final = "by"
BY_HAND: Final = "hand"  # `dockercni add CONTAINER`
BY_PATH: Final = "path"  # `dockercni add ID PATH`: the namespace is no container's


@dataclass(frozen=True, slots=True)
class Record:
    """An attachment of ours and the cache entry that it stands in."""

    attachment: Attachment
    entry: CacheEntry


def owner(life: Life, engine: str, name: str, by: str = "") -> dict[str, str]:
    """What is written into an entry, so that it can be told later whose it is."""
    return {ENGINE: engine, BOOT: life.boot, COOKIE: life.cookie, NAME: name, BY: by}


def record(entry: CacheEntry) -> Record | None:
    """The entry as an attachment; None if another runtime made it."""
    if entry.owner is None:
        return None
    by = entry.owner.get(BY, "")
    attachment = Attachment(
        network=entry.network,
        container_id=entry.container_id,
        ifname=entry.ifname,
        life=Life(entry.owner.get(BOOT, ""), entry.owner.get(COOKIE, "")),
        complete=entry.complete,
        by_hand=by == BY_HAND,
        path=entry.netns if by == BY_PATH else "",
    )
    return Record(attachment, entry)


def records(cache: Cache, engine: str, container_id: str = "") -> Iterator[Record | CacheError]:
    """Our records (of one container) for the engine of that id, and those of namespaces that are no container's.

    What another engine's containers have is not ours to judge. Files that cannot be read come as errors.
    """
    for entry in cache.entries(container_id):
        if isinstance(entry, CacheError):
            yield entry
        elif (found := record(entry)) and (found.attachment.path or _engine(entry.owner) == engine):
            yield found


def _engine(owner: Mapping[str, str] | None) -> str:
    return owner.get(ENGINE, "") if owner else ""
